//! One connection to a server: its address, the proxy in between, TLS. `client/` chooses the
//! requests.
//! Read: `address`, `proxy`, `tls`, `connector`.

pub(crate) mod address;
pub(crate) mod connector;
pub(crate) mod proxy;
pub(crate) mod tls;
