//! A remote TCP forward by BIND: each peer has a connection of its own to the far end, which is asked to listen anew as
//! soon as one has come, on a spare connection where there is one.

use std::sync::Arc;

use super::{Place, Shared};
use crate::{
    forward::remote::{Event, Kind, Setback, Turn, aborted},
    protocol::socks5,
    stream::Stream,
};

/// Waits for the port's one peer, and serves it.
pub(super) async fn one_peer(shared: Arc<Shared>, turn: Turn) -> Setback {
    let mut phases = shared.binding.control.phases();
    let stream = tokio::select! {
        found = awaited_peer(&shared, &turn) => match found {
            Ok(stream) => stream,
            Err(setback) => {
                // Of a port that is not let go of yet nothing was lost.
                if setback.kind != Kind::Busy {
                    shared.spares.forget();
                }
                return setback;
            }
        },
        () = turn.stop.cancelled() => return Setback::lost("stopped"),
    };
    let _ = turn.told.send(Event::HandedOver).await;
    // The next attempt waits for room, so that there is some.
    let _place = Place::take(&shared, turn.worker);
    tokio::select! {
        () = shared.serve(stream, turn.worker) => {}
        () = aborted(&mut phases) => {}
    }
    Setback::lost("served")
}

async fn awaited_peer(shared: &Shared, turn: &Turn) -> Result<Stream, Setback> {
    let Shared { binding, spares, .. } = shared;
    let bound = match binding.bind_spare(spares).await {
        Some(bound) => bound,
        None => binding.bind(turn.patience).await,
    };
    let mut bound = bound?;
    spares.prepare(binding, &bound.node);
    let _ = turn.told.send(Event::Held(binding.address(&bound))).await;
    socks5::peer(&mut bound.stream).await.map_err(Setback::lost)?;
    spares.note_peer();
    Ok(bound.stream)
}
