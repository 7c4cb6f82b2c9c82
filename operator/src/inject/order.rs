//! The order in which a person wrote the fields of a manifest, so that it is written back in it: from the text to the
//! values that came of it. What was added comes after what was there.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, SeqAccess, Visitor},
    ser::{SerializeMap, SerializeSeq},
};
use serde_json::Value;

/// How a value was written.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Order {
    /// Nothing, or a document without anything in it.
    #[default]
    Nothing,
    /// A text, by which items of a list are told apart, or any other scalar.
    Scalar(Option<String>),
    List(Vec<Order>),
    Map(Vec<(String, Order)>),
}

/// A value that is written in the order of another one.
#[derive(Debug, Clone, Copy)]
pub struct InOrder<'a> {
    pub value: &'a Value,
    pub order: &'a Order,
}

impl Order {
    /// The order of a list's item: that of the item of the same name, else of the one in the same place.
    fn of_item<'a>(orders: &'a [Self], index: usize, item: &Value) -> &'a Self {
        const NOTHING: &Order = &Order::Nothing;
        let Some(name) = item.get("name").and_then(Value::as_str) else { return orders.get(index).unwrap_or(NOTHING) };
        let is_its = |order: &&Self| order.field("name").is_some_and(|order| order.is_text(name));
        orders.iter().find(is_its).unwrap_or(NOTHING)
    }

    fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(fields) => fields.iter().find(|(field, _)| field == name).map(|(_, order)| order),
            Self::Nothing | Self::Scalar(_) | Self::List(_) => None,
        }
    }

    fn is_text(&self, text: &str) -> bool {
        match self {
            Self::Scalar(said) => said.as_deref() == Some(text),
            Self::Nothing | Self::List(_) | Self::Map(_) => false,
        }
    }
}

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.value, self.order) {
            (Value::Object(fields), Order::Map(order)) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, order) in order {
                    if let Some(value) = fields.get(name) {
                        map.serialize_entry(name, &InOrder { value, order })?;
                    }
                }
                let was_there = |name: &str| order.iter().any(|(there, _)| there == name);
                for (name, value) in fields.iter().filter(|(name, _)| !was_there(name)) {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
            (Value::Array(items), Order::List(orders)) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for (index, value) in items.iter().enumerate() {
                    list.serialize_element(&InOrder { value, order: Order::of_item(orders, index, value) })?;
                }
                list.end()
            }
            (value, _) => value.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Order {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Order;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<Order, E> {
        Ok(Order::Nothing)
    }

    fn visit_none<E>(self) -> Result<Order, E> {
        Ok(Order::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Order, D::Error> {
        Order::deserialize(deserializer)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Order, E> {
        Ok(Order::Scalar(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Order, E> {
        Ok(Order::Scalar(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Order, E> {
        Ok(Order::Scalar(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Order, E> {
        Ok(Order::Scalar(None))
    }

    fn visit_str<E>(self, text: &str) -> Result<Order, E> {
        Ok(Order::Scalar(Some(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Order, A::Error> {
        let mut orders = Vec::new();
        while let Some(order) = items.next_element()? {
            orders.push(order);
        }
        Ok(Order::List(orders))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Order, A::Error> {
        let mut orders = Vec::new();
        while let Some(field) = fields.next_entry()? {
            orders.push(field);
        }
        Ok(Order::Map(orders))
    }
}
