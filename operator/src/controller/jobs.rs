//! Writes that run beside the controller's one task, and what came of them.

use super::{
    child::{Answer, ChildKind, Write},
    index::ObjectName,
    settlement::InForce,
    unseen::Written,
    writer::{WriteError, Writer},
};
use crate::names::ProxyId;

/// A write, or several for one proxy, that came to its end.
pub(super) enum Done {
    Proxy { id: ProxyId, outcomes: Vec<Outcome> },
    Status { name: ObjectName, result: Result<Written, WriteError> },
}

pub(super) struct Outcome {
    pub(super) write: Write,
    pub(super) result: Result<Option<Answer>, WriteError>,
    /// The document it wrote, if it was a configuration.
    pub(super) document: Option<InForce>,
}

/// Does the writes of one proxy, in order.
pub(super) async fn write_all(writer: Writer, id: ProxyId, writes: Vec<(Write, Option<InForce>)>) -> Done {
    let mut outcomes = Vec::new();
    for (write, document) in writes {
        let result = writer.child(&id.namespace, &write).await;
        let result = result.map(|answer| match (&write, answer) {
            (Write::Create(wanted) | Write::Apply(wanted), Some(answer)) => Some(Answer::new(wanted, &answer)),
            _ => None,
        });
        // A name of the gateway that is somebody else's, or a server that doesn't answer, spoils the rest too.
        let goes_on = result.is_ok() || write.child().kind == ChildKind::Service;
        outcomes.push(Outcome { write, result, document });
        if !goes_on {
            break;
        }
    }
    Done::Proxy { id, outcomes }
}
