//! API keys: created, checked, and cached so that requests need not read the store.

mod making;
mod peers;
mod ring;
mod secret;
mod sessions;
mod socket;

pub(crate) use making::{Ask, MakeError, Told, make, perform, told};
pub(crate) use peers::{Peers, SIGNATURE, Signed, of_body};
pub(crate) use ring::{Holder, KeyRing, NotKnown};
pub(crate) use sessions::{LASTS, Session, Sessions};
pub(crate) use socket::{ask_socket, listen};
