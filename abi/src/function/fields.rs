//! Reading a struct that has [`LimitOptions`] beside its own fields, with its keys in one map.
//!
//! serde's `flatten` would do that too, but it buffers the whole map, so that errors lose their
//! place in the file, and it excludes `deny_unknown_fields`. Here each value is read where it
//! stands, and an unknown key is refused with the key that was likely meant. Owns no fds.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::nearest::nearest;
use super::options::LimitOptions;

/// Reads the limits out of a map, and what is left of it with `own`, which must read a struct.
///
/// The struct derives `Deserialize` with `#[serde(remote = "Self")]`, so that the derived function
/// can be named apart from the trait's (`fields/tests.rs` has this as a test):
///
/// ```ignore
/// #[derive(Default, Deserialize)]
/// #[serde(remote = "Self", default)]
/// struct Options {
///     name: Option<String>,
///     #[serde(skip)]
///     limits: LimitOptions,
/// }
///
/// impl<'de> Deserialize<'de> for Options {
///     fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
///         let (own, limits) = fields::with_limits(deserializer, |own| Self::deserialize(own))?;
///         Ok(Self { limits, ..own })
///     }
/// }
///
/// let options: Options = serde_json::from_str(r#"{"name": "a", "queue": 3}"#)?;
/// assert_eq!((options.name.as_deref(), options.limits.queue), (Some("a"), Some(3)));
/// ```
///
/// # Errors
/// Returns an error if a value cannot be read, or for a key that is none of a limit and none of the
/// struct.
pub fn with_limits<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    own: impl FnOnce(OwnFields<'_, D>) -> Result<T, D::Error>,
) -> Result<(T, LimitOptions), D::Error> {
    let mut limits = LimitOptions::default();
    let own = own(OwnFields { inner: deserializer, limits: &mut limits })?;
    Ok((own, limits))
}

/// Shows a struct only its own fields; the limits between them go to `limits`.
#[derive(Debug)]
pub struct OwnFields<'a, D> {
    inner: D,
    limits: &'a mut LimitOptions,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for OwnFields<'_, D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        // As a map: the names of the limits are not among `fields`.
        self.inner.deserialize_map(OwnVisitor { visitor, fields, limits: self.limits })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, D::Error> {
        Err(D::Error::custom("limits can only be read beside the fields of a struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The struct's visitor, which is shown a map without the limits.
struct OwnVisitor<'a, V> {
    visitor: V,
    fields: &'static [&'static str],
    limits: &'a mut LimitOptions,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for OwnVisitor<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        let Self { visitor, fields, limits } = self;
        visitor.visit_map(OwnMap { map, fields, limits })
    }
}

/// A map whose entries that are limits are read into `limits` on the way.
struct OwnMap<'a, A> {
    map: A,
    fields: &'static [&'static str],
    limits: &'a mut LimitOptions,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for OwnMap<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key_seed(KnownKey { own: self.fields })? {
            match key {
                Key::Own(key) => return seed.deserialize(StrDeserializer::new(key)).map(Some),
                Key::Limit(key) => {
                    self.map.next_value_seed(LimitValue { key, limits: self.limits })?;
                }
            }
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// A key of the map.
enum Key {
    /// It is a field of the struct.
    Own(&'static str),
    /// It is a limit.
    Limit(&'static str),
}

/// Reads a key, and refuses one that is not known. The error is made while the key is read, so that
/// a format that knows places says the key's.
struct KnownKey {
    own: &'static [&'static str],
}

impl<'de> DeserializeSeed<'de> for KnownKey {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KnownKey {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, given: &str) -> Result<Key, E> {
        if let Some(key) = self.own.iter().find(|key| **key == given) {
            return Ok(Key::Own(key));
        }
        if let Some(key) = LimitOptions::KEYS.into_iter().find(|key| *key == given) {
            return Ok(Key::Limit(key));
        }
        let known = || self.own.iter().copied().chain(LimitOptions::KEYS);
        let hint = match nearest(given, known()) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("expected one of {}", known().collect::<Vec<_>>().join(", ")),
        };
        Err(E::custom(format_args!("there is no key {given:?}; {hint}")))
    }
}

/// Reads the value of a limit. An error names the key, which not every format would.
struct LimitValue<'a> {
    key: &'static str,
    limits: &'a mut LimitOptions,
}

impl<'de> DeserializeSeed<'de> for LimitValue<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        let Self { key, limits } = self;
        // toml ends its messages with a line break.
        limits.read(key, value).map_err(|error| {
            D::Error::custom(format_args!("{key}: {}", error.to_string().trim_end()))
        })
    }
}

#[cfg(test)]
mod tests;
