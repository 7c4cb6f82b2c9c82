//! Shadowsocks as a client: the target's address is the first thing that is sent. A hop never answers that, so that
//! nothing is learnt of the target, nor of a wrong password, until the hop closes.

use fairlead_config::HostPort;
use tokio::io::AsyncWriteExt;

use super::{Fault, address, broken, ss::SsStream, ss_cipher::Key};
use crate::{dial::DialCause, stream::Stream};

/// Asks for a connection, at once, so that a target which speaks first is heard.
pub(crate) async fn connect(stream: Stream, address: &HostPort, key: Key) -> Result<Stream, Fault> {
    let mut request = Vec::with_capacity(address::LONGEST);
    let encoded = address::encode(address, &mut request);
    encoded.map_err(|error| Fault::Address(DialCause::Rejected(format!("ss: {error}"))))?;
    let mut encrypted = SsStream::new(stream, key);
    let sent = async {
        encrypted.write_all(&request).await?;
        encrypted.flush().await
    };
    sent.await.map_err(|error| Fault::Hop(broken("ss", &error)))?;
    Ok(Stream::Layered(Box::new(encrypted)))
}
