//! What must not leave, and whether it did: planted values, conversations that carry them, and a look at everything that a
//! gateway sent or wrote.
//!
//! A [`Canary`] is a valid value of one kind that occurs nowhere else. A [`Conversation`] carries some, each in one field and
//! in one disguise, and remembers every form in which it stands in the body that is sent. A [`Watch`] knows all forms of
//! all canaries and finds them in any bytes. Everything is made from a seed.

mod canary;
mod conversation;
mod disguise;
mod watch;

pub use canary::{Canary, KINDS};
pub use conversation::{Conversation, PLACES, Place, Planted, Turn};
pub use disguise::{DISGUISES, Disguise};
pub use watch::{Found, Watch};
