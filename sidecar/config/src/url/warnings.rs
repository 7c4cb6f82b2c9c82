//! Notes on a valid node URL: what has no effect here, what shows a password, what differs from GOST.

use super::option::{UrlOption, Use};
use super::{NodeUrl, Role};

/// Lists the notes, none for most URLs; no note holds a password.
pub(super) fn of(url: &NodeUrl) -> Vec<String> {
    let without_effect = url.options.iter().filter_map(|option| match option.row()?.usage(url.role) {
        Use::NoEffect(reason) => Some(format!("option \"{}\" has no effect: {reason}", option.name())),
        Use::Field(_) | Use::NoField | Use::Refused(_) | Use::Elsewhere => None,
    });
    without_effect.chain(shown_password(url)).chain(verified_unlike_gost(url)).collect()
}

fn shown_password(url: &NodeUrl) -> Option<String> {
    url.credentials.as_ref()?.password.as_ref()?;
    Some("a password in a URL shows in process lists and shell histories: put \"user password\" into a file and name it in secrets=FILE".to_owned())
}

fn verified_unlike_gost(url: &NodeUrl) -> Option<String> {
    let is_silent =
        url.role == Role::Hop && !url.options.contains(UrlOption::Secure) && url.scheme.transport().is_tls();
    is_silent.then(|| {
        format!(
            "the certificate of {} is verified, which GOST does not: write secure=false for a self-signed one",
            url.address
        )
    })
}
