//! What is kept for networks of which little was recorded yet: however many lines and sums others have taken,
//! in a minute or over days, who comes from elsewhere is named.

use std::collections::HashMap;

use super::minute::Neighbours;

/// Networks that are helped in a day. Who wants to use that up has to come from as many.
const NETWORKS: usize = 2_048;
/// Of those, of one IPv6 /32: its holder has 65,536 networks.
const OF_ONE_HOLDER: u16 = 128;
/// Lines and sums that each gets in a day.
const EACH: u8 = 8;
/// Minutes of a day.
const DAY: u64 = 24 * 60;

/// What is left of it today.
#[derive(Debug, Default)]
pub(super) struct Reserve {
    taken: HashMap<Neighbours, u8>,
    holders: HashMap<u32, u16>,
    minutes: u64,
}

impl Reserve {
    /// Takes a line or a sum for this network, if there is one for it.
    pub(super) fn take(&mut self, network: Neighbours) -> bool {
        if let Some(taken) = self.taken.get_mut(&network) {
            let is_left = *taken < EACH;
            *taken += u8::from(is_left);
            return is_left;
        }
        if self.taken.len() >= NETWORKS || !self.has_place(network) {
            return false;
        }
        self.taken.insert(network, 1);
        true
    }

    fn has_place(&mut self, network: Neighbours) -> bool {
        let Some(holder) = network.holder() else { return true };
        let places = self.holders.entry(holder).or_default();
        let has_place = *places < OF_ONE_HOLDER;
        *places += u16::from(has_place);
        has_place
    }

    /// So many minutes have passed.
    pub(super) fn pass(&mut self, minutes: u64) {
        self.minutes = self.minutes.saturating_add(minutes);
        if self.minutes >= DAY {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::network::Network;

    fn of(address: u128) -> Neighbours {
        Neighbours::of(Network::of(Some(Ipv6Addr::from_bits(address).into())))
    }

    #[test]
    fn each_gets_a_little_a_day_and_one_holder_not_all_of_it() {
        let mut reserve = Reserve::default();
        let site = |holder: u128, n: u128| of(holder << 96 | n << 80 | 1);
        for n in 0..1_000 {
            assert_eq!(reserve.take(site(0x2001_0db8, n)), n < u128::from(OF_ONE_HOLDER), "{n}");
        }
        let other = site(0x2001_0db9, 1);
        let taken = (0..100).filter(|_| reserve.take(other)).count();
        assert_eq!(taken, usize::from(EACH));
        reserve.pass(DAY - 1);
        assert!(!reserve.take(other));
        reserve.pass(1);
        assert!(reserve.take(other));
    }

    #[test]
    fn it_is_bounded() {
        let mut reserve = Reserve::default();
        let networks = (0..100_000_u128).map(|n| of(n << 96 | 1));
        assert_eq!(networks.filter(|network| reserve.take(*network)).count(), NETWORKS);
        assert!(reserve.holders.len() <= NETWORKS);
    }
}
