//! Resource quantities, from settings to containers, in the form in which an API server stores them (`0.5` as `500m`,
//! `1024Mi` as `1Gi`): so what was applied and what is there can be compared. Follows the Quantity of Kubernetes' API
//! reference, but for exponents, which nobody needs here.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ResourceRequirements, apimachinery::pkg::api::resource::Quantity};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

use super::typed;

/// Billionths of one, the smallest part that is stored.
const NANO: i128 = 1_000_000_000;
const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
/// Decimal suffixes with how many billionths they are.
const DECIMAL: [(&str, i128); 10] = [
    ("E", 1_000_000_000_000_000_000 * NANO),
    ("P", 1_000_000_000_000_000 * NANO),
    ("T", 1_000_000_000_000 * NANO),
    ("G", 1_000_000_000 * NANO),
    ("M", 1_000_000 * NANO),
    ("k", 1_000 * NANO),
    ("", NANO),
    ("m", NANO / 1_000),
    ("u", NANO / 1_000_000),
    ("n", 1),
];

/// Makes resource requirements of canonical quantities.
pub(super) fn requirements<const N: usize, const M: usize>(
    requests: [(&str, &str); N],
    limits: [(&str, &str); M],
) -> ResourceRequirements {
    let quantity = |(name, amount): (&str, &str)| (name.to_owned(), Quantity(amount.to_owned()));
    ResourceRequirements {
        requests: Some(requests.into_iter().map(quantity).collect()),
        limits: Some(limits.into_iter().map(quantity).collect()),
        claims: None,
    }
}

/// For `deserialize_with`: resource requirements, with every quantity as an API server stores it.
pub(super) fn resources<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ResourceRequirements, D::Error> {
    let mut said = Value::deserialize(deserializer)?;
    for list in ["requests", "limits"] {
        for amount in said.get_mut(list).and_then(Value::as_object_mut).into_iter().flat_map(|all| all.values_mut()) {
            // Written without quotes.
            if let Value::Number(number) = amount {
                *amount = Value::String(number.to_string());
            }
        }
    }
    let mut read: ResourceRequirements = typed::from_value(said).map_err(D::Error::custom)?;
    for (list, amounts) in [("requests", &mut read.requests), ("limits", &mut read.limits)] {
        canonicalize(amounts).map_err(|error| D::Error::custom(format!("{list}.{error}")))?;
    }
    Ok(read)
}

fn canonicalize(amounts: &mut Option<BTreeMap<String, Quantity>>) -> Result<(), String> {
    for (name, amount) in amounts.iter_mut().flatten() {
        let known = canonical(&amount.0);
        *amount = Quantity(known.ok_or_else(|| {
            format!("{name} \"{}\" is no quantity; write 500m, 2, 128Mi or 1Gi, for example", amount.0)
        })?);
    }
    Ok(())
}

/// Writes a quantity as an API server does; none for what is no quantity.
fn canonical(text: &str) -> Option<String> {
    let length = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(length);
    let binary = BINARY.iter().zip(1_u32..).find(|(word, _)| **word == suffix);
    let unit = match binary {
        Some((_, power)) => 1024_i128.pow(power) * NANO,
        None => DECIMAL.iter().find(|(word, _)| *word == suffix)?.1,
    };
    let nanos = nanos(number, unit)?;
    if nanos > i128::from(i64::MAX) * NANO {
        return None;
    }
    // Less than 1Ki has no binary suffix to be written with.
    Some(if binary.is_some() && nanos >= 1024 * NANO { in_binary(nanos) } else { in_decimal(nanos) })
}

/// The billionths in `number` times `unit`, rounded up.
fn nanos(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || fraction.len() > 9 {
        return None;
    }
    let value = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<i128>().ok() };
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let part = value(fraction)?.checked_mul(unit)?;
    value(whole)?.checked_mul(unit)?.checked_add((part + scale - 1) / scale)
}

fn in_binary(nanos: i128) -> String {
    let (mut value, mut suffix) = ((nanos + NANO - 1) / NANO, "");
    for word in BINARY {
        if value % 1024 != 0 {
            break;
        }
        (value, suffix) = (value / 1024, word);
    }
    format!("{value}{suffix}")
}

fn in_decimal(nanos: i128) -> String {
    let fits = DECIMAL.iter().find(|(_, unit)| nanos % unit == 0);
    match fits {
        Some((suffix, unit)) if nanos > 0 => format!("{}{suffix}", nanos / unit),
        Some(_) | None => "0".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_as_an_api_server_stores_them() {
        for (said, stored) in [
            ("0", "0"),
            ("1", "1"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("1.5", "1500m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("100000u", "100m"),
            ("2000", "2k"),
            ("128Mi", "128Mi"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("128M", "128M"),
            ("1000M", "1G"),
            ("1025Ki", "1025Ki"),
        ] {
            assert_eq!(canonical(said).as_deref(), Some(stored), "{said}");
            assert_eq!(canonical(stored).as_deref(), Some(stored), "{stored}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for said in ["", ".", "-1", "1.2.3", "12Q", "1 Gi", "Mi", "9999Ei", "1e3", "0.1234567891"] {
            assert_eq!(canonical(said), None, "{said}");
        }
    }
}
