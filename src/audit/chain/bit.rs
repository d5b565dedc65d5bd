//! Bits that have turned on a disk. With one of them turned back, what a checksum, a link or a signature fits is what
//! was written: that is no guess.

/// What `good` makes of these bytes with one of their bits turned, the first for which it is something.
pub(super) fn turned_back<T>(bytes: &[u8], good: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            *bytes.get_mut(at)? ^= 1 << bit;
            let found = good(&bytes);
            if found.is_some() {
                return found;
            }
            *bytes.get_mut(at)? ^= 1 << bit;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_one_bit_is_found() {
        for bit in 0..24 {
            let mut turned = *b"bit";
            turned[bit / 8] ^= 1 << (bit % 8);
            let found = turned_back(&turned, |bytes| (bytes == b"bit").then_some(()));
            assert!(found.is_some(), "{bit}");
        }
        assert!(turned_back(b"cut", |bytes| (bytes == b"bit").then_some(())).is_none());
    }
}
