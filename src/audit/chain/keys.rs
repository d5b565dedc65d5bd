//! The installation's secrets for the trail: the key that signs checkpoints, its public half beside it,
//! and the key of credentials' fingerprints. Made at the first start, in hexadecimal digits.

use std::fmt;
use std::io;
use std::path::Path;

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderValue;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::secret::Key;
use crate::store::disk::Disk;

/// The key that signs; whoever has it can write another trail.
pub(super) const SIGNING: &str = "signing.key";
/// There from before the key that signs is on the disk until a record stands that was written with it. While nothing
/// tells which trail a key is of, a start must not take what is there for somebody else's. Signed by that key: nobody
/// else can have it look new again.
pub(super) const NEW: &str = "signing.new";
/// Its public half; whoever verifies should have it from elsewhere.
pub(super) const PUBLIC: &str = "signing.pub";
/// The key of fingerprints; whoever has it can try credentials against them.
pub(super) const FINGERPRINTS: &str = "fingerprint.key";

/// What every fingerprint begins with.
const DOMAIN: &[u8] = b"hookward credential 1\0";
/// What is signed of a new key, before its public half.
const NEW_DOMAIN: &[u8] = b"hookward audit new key 1\0";
/// Bytes of a fingerprint: no two credentials share one by chance.
const FINGERPRINT: usize = 16;

/// The public half of an installation's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// A text that is no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a public key is 64 hexadecimal digits")]
pub struct BadKey;

impl PublicKey {
    /// Out of its hexadecimal digits; white space around them does not count.
    ///
    /// # Errors
    /// [`BadKey`] when it is none.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| BadKey)?;
        Ok(Self(bytes))
    }

    /// The one that stands beside the trail in this directory.
    ///
    /// # Errors
    /// As the file system says, and for what is none.
    pub fn beside(disk: &dyn Disk, dir: &Path) -> io::Result<Self> {
        let text = read(disk, &dir.join(PUBLIC))?;
        Self::parse(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// What it is called in checkpoints.
    pub fn id(&self) -> String {
        let digest: [u8; 32] = Sha256::digest(self.0).into();
        hex::encode(&digest[..8])
    }

    fn claimed(&self) -> Vec<u8> {
        [NEW_DOMAIN, &self.0].concat()
    }

    /// Whether its other half has signed this.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

/// In hexadecimal digits.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What signs checkpoints.
pub(super) struct Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl Signer {
    fn new(seed: &Key) -> io::Result<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose())
            .map_err(|_| io::Error::other("no Ed25519 key can be made of it"))?;
        let mut public = PublicKey([0; 32]);
        public.0.copy_from_slice(pair.public_key().as_ref());
        Ok(Self { pair, public })
    }

    pub(super) fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }

    /// What it says of itself while it is new.
    fn claim(&self) -> String {
        hex::encode(self.sign(&self.public.claimed()))
    }

    /// Whether it is marked as new in this directory, by itself.
    fn has_claimed(&self, disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
        let claim = match read(disk, &dir.join(NEW)) {
            Ok(claim) => hex::decode(claim.trim()).unwrap_or_default(),
            // What is no file, nobody of us has put there.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::InvalidInput
                ) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        Ok(self.public.verifies(&self.public.claimed(), &claim))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("public", &self.public).finish_non_exhaustive()
    }
}

/// What makes fingerprints of credentials.
#[derive(Clone)]
pub(super) struct Fingerprints(Hmac<Sha256>);

impl Fingerprints {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length, RFC 2104 section 3")]
    fn new(key: &Key) -> Self {
        Self(Hmac::new_from_slice(key.expose()).expect("HMAC takes keys of any length"))
    }

    /// Of the credential in these values of its header. The same credential has the same one, and
    /// nobody without the key can tell which it was.
    pub(super) fn of<'v>(&self, values: impl Iterator<Item = &'v HeaderValue>) -> String {
        let mut mac = self.0.clone();
        mac.update(DOMAIN);
        for value in values {
            mac.update(&(value.len() as u64).to_le_bytes());
            mac.update(value.as_bytes());
        }
        let tag: [u8; 32] = mac.finalize().into_bytes().into();
        hex::encode(&tag[..FINGERPRINT])
    }
}

/// What tells whether a fingerprint in a trail is that of a credential which is known. For whoever can read
/// the installation's key.
#[derive(Clone, Debug)]
pub struct Fingerprinted(Fingerprints);

impl Fingerprinted {
    /// Of the trail of the store in this directory. Makes no key.
    ///
    /// # Errors
    /// As the file system says, and for what is no key.
    pub fn open(disk: &dyn Disk, store: &Path) -> io::Result<Self> {
        let path = store.join(super::DIR).join(FINGERPRINTS);
        let text = read(disk, &path)?;
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), &mut *bytes)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(Self(Fingerprints::new(&Key::new(bytes))))
    }

    /// Whether it is that of a header with these bytes, one part behind the other, as its only value.
    pub fn is(&self, fingerprint: &str, parts: &[&[u8]]) -> bool {
        let value = Zeroizing::new(parts.concat());
        let header = HeaderValue::from_bytes(&value);
        header.is_ok_and(|header| self.0.of(std::iter::once(&header)) == fingerprint)
    }
}

impl fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What the writer needs.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) signer: Signer,
    pub(super) fingerprints: Fingerprints,
    /// Whether the one that signs is marked as new, by this start or one that has come no further.
    pub(super) is_new: bool,
    /// What is in their files.
    signing: Key,
    keyed: Key,
}

impl Keys {
    /// Those in this directory; what is not there is made. `begun`: there are segments already, so what
    /// is no key is none that a crash has left half written.
    ///
    /// # Errors
    /// As the file system says, and for what is no key.
    pub(super) fn load(disk: &dyn Disk, dir: &Path, begun: bool) -> io::Result<Self> {
        // Of a new one there may be half, whatever else is there.
        let begun_with_it = begun && !is_there(disk, &dir.join(NEW))?;
        let signing = match known(disk, dir, SIGNING, begun_with_it)? {
            Some(signing) => signing,
            None => {
                let signing = Key::generate()?;
                mark_new(disk, dir, &Signer::new(&signing)?.claim())?;
                keep(disk, dir, SIGNING, &signing)?;
                signing
            }
        };
        let signer = Signer::new(&signing)?;
        let is_new = signer.has_claimed(disk, dir)?;
        let beside = PublicKey::beside(disk, dir).ok();
        if beside != Some(signer.public) {
            let path = dir.join(PUBLIC);
            remove_if_there(disk, &path)?;
            write(disk, dir, &path, &format!("{}\n", signer.public))?;
        }
        let keyed = match known(disk, dir, FINGERPRINTS, begun)? {
            Some(keyed) => keyed,
            None => {
                let keyed = Key::generate()?;
                keep(disk, dir, FINGERPRINTS, &keyed)?;
                keyed
            }
        };
        let fingerprints = Fingerprints::new(&keyed);
        Ok(Self { signer, fingerprints, is_new, signing, keyed })
    }

    /// Writes those that are not in this directory any more. Whether the one that signs is among them: it is marked
    /// as new then: all that it has opened may be gone as well.
    ///
    /// # Errors
    /// As the file system says.
    pub(super) fn put_back(&self, disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
        let is_new = !is_there(disk, &dir.join(SIGNING))?;
        if is_new {
            mark_new(disk, dir, &self.signer.claim())?;
        }
        for (name, key) in [(SIGNING, &self.signing), (FINGERPRINTS, &self.keyed)] {
            if !exists(disk, &dir.join(name)) {
                keep(disk, dir, name, key)?;
            }
        }
        let public = dir.join(PUBLIC);
        if !exists(disk, &public) {
            write(disk, dir, &public, &format!("{}\n", self.signer.public()))?;
        }
        Ok(is_new)
    }
}

/// Notes that the key that signs is about to be written, with what it says of that.
fn mark_new(disk: &dyn Disk, dir: &Path, claim: &str) -> io::Result<()> {
    let path = dir.join(NEW);
    remove_if_there(disk, &path)?;
    write(disk, dir, &path, claim)
}

/// Notes that it is new no more.
///
/// # Errors
/// As the file system says.
pub(super) fn settle(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    remove_if_there(disk, &dir.join(NEW))?;
    disk.sync_dir(dir)
}

/// The key in this file. Half of one is removed, unless it was `begun` to be used.
fn known(disk: &dyn Disk, dir: &Path, name: &str, begun: bool) -> io::Result<Option<Key>> {
    let path = dir.join(name);
    match read(disk, &path) {
        Ok(text) => {
            let mut bytes = Zeroizing::new([0; 32]);
            if hex::decode_to_slice(text.trim(), &mut *bytes).is_ok() {
                return Ok(Some(Key::new(bytes)));
            }
            if begun {
                let message = format!("{} is no key: 64 hexadecimal digits", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            disk.remove(&path)?;
            Ok(None)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn keep(disk: &dyn Disk, dir: &Path, name: &str, key: &Key) -> io::Result<()> {
    write(disk, dir, &dir.join(name), &Zeroizing::new(hex::encode(key.expose())))
}

/// Whether something has this name, whatever it is. That nobody can tell is an error.
fn is_there(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    match disk.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => Err(error),
        _ => Ok(true),
    }
}

/// Whether something has this name, whatever it is.
fn exists(disk: &dyn Disk, path: &Path) -> bool {
    !disk.open(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn write(disk: &dyn Disk, dir: &Path, path: &Path, text: &str) -> io::Result<()> {
    let mut file = disk.create(path)?;
    let written = file.append(text.as_bytes()).and_then(|()| file.sync());
    written.and_then(|()| disk.sync_dir(dir)).inspect_err(|_| {
        // Half a key would be one that cannot be read, at every further try.
        let _ = disk.remove(path);
    })
}

fn read(disk: &dyn Disk, path: &Path) -> io::Result<Zeroizing<String>> {
    let file = disk.open(path)?;
    let mut bytes = Zeroizing::new(vec![0; 256]);
    let read = file.read_at(&mut bytes, 0)?;
    let text = bytes.get(..read).and_then(|bytes| std::str::from_utf8(bytes).ok());
    Ok(Zeroizing::new(text.unwrap_or("?").to_owned()))
}
