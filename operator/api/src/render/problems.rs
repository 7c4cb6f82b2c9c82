//! What is wrong with one object, gathered from every part of it before it is refused once.

use crate::render::AcceptedReason;

/// Why an object is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: AcceptedReason,
    pub(super) message: String,
}

/// Problems of one object in the order they were found.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

#[derive(Debug)]
struct Problem {
    reason: AcceptedReason,
    field: String,
    message: String,
}

impl Problems {
    pub(super) fn add(&mut self, reason: AcceptedReason, field: impl Into<String>, message: impl ToString) {
        self.0.push(Problem { reason, field: field.into(), message: message.to_string() });
    }

    /// Adds what is wrong with a field's value, unless something else was found wrong with it before.
    pub(super) fn invalid(&mut self, field: &str, message: impl ToString) {
        if !self.is_known(field) {
            self.add(AcceptedReason::InvalidSpec, field, message);
        }
    }

    /// Tells whether something was found wrong with the field.
    pub(super) fn is_known(&self, field: &str) -> bool {
        self.0.iter().any(|problem| problem.field == field)
    }

    /// Names all problems at once; the reason is the first that stands in the way of understanding the rest.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let reason = self.0.iter().map(|problem| problem.reason).min_by_key(|reason| precedence(*reason))?;
        let messages: Vec<_> = self.0.iter().map(Problem::text).collect();
        Some(Refusal { reason, message: messages.join("; ") })
    }
}

impl Problem {
    fn text(&self) -> String {
        if self.field.is_empty() { self.message.clone() } else { format!("{}: {}", self.field, self.message) }
    }
}

fn precedence(reason: AcceptedReason) -> u8 {
    match reason {
        AcceptedReason::InvalidSpec => 0,
        AcceptedReason::InvalidURL => 1,
        AcceptedReason::UnsupportedValue => 2,
        AcceptedReason::NameTaken => 3,
        AcceptedReason::PortConflict => 4,
        AcceptedReason::GatewayFull => 5,
    }
}
