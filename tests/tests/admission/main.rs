//! What the API server takes as a PortForward and how it shows it, and that the offline check judges alike.

mod documents;
mod rules;
mod schema;
mod shown;
