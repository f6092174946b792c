//! Turns a section of the manifest into a struct, through serde.
//!
//! `ini` has split the text into keys and values. A key that no field has is refused.

use std::collections::btree_map;

use serde::de::value::Error;
use serde::de::{DeserializeSeed, Error as _, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};

use crate::ManifestError;
use crate::manifest::ini::{Section, unescape, unescape_list};

/// Reads section `name` into a struct. Keys that begin with `x-` are for later readers and are
/// skipped.
pub(crate) fn from_section<'de, T: Deserialize<'de>>(
    name: &str,
    section: &'de Section,
) -> Result<T, ManifestError> {
    T::deserialize(Keys { rest: section.iter(), value: None })
        .map_err(|e| ManifestError::at(name, e.to_string()))
}

struct Keys<'de> {
    rest: btree_map::Iter<'de, String, String>,
    value: Option<(&'de str, &'de str)>,
}

impl<'de> Deserializer<'de> for Keys<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Keys<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((key, raw)) = self.rest.find(|(key, _)| !key.starts_with("x-")) else {
            return Ok(None);
        };
        self.value = Some((key, raw));
        seed.deserialize(key.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let (key, raw) =
            self.value.take().ok_or_else(|| Error::custom("a value without its key"))?;
        seed.deserialize(Value(raw)).map_err(|e| Error::custom(format!("{key}: {e}")))
    }
}

/// A raw value. The field that takes the value decides what it becomes.
struct Value<'de>(&'de str);

impl Value<'_> {
    fn text(&self) -> Result<String, Error> {
        unescape(self.0).map_err(Error::custom)
    }

    /// Reads decimal digits without sign or leading zeros: one number has one spelling.
    fn number(&self) -> Result<u64, Error> {
        let number = self.0.parse().ok().filter(|n: &u64| n.to_string() == self.0);
        number.ok_or_else(|| Error::custom(format!("{:?} is not a whole number", self.0)))
    }
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u64(self.number()?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u64(self.number()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let items = unescape_list(self.0).map_err(Error::custom)?;
        serde::de::value::SeqDeserializer::new(items.into_iter()).deserialize_seq(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, PartialEq, Debug)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        text: String,
        number: u32,
        maybe: Option<u64>,
        #[serde(default)]
        list: Vec<String>,
    }

    fn sample(text: &str) -> Result<Sample, String> {
        let sections = crate::manifest::ini::parse(text).unwrap();
        from_section("s", &sections["s"]).map_err(|e| e.to_string())
    }

    #[test]
    fn values_take_the_type_of_their_field() {
        let got = sample("[s]\ntext=\\sa;b\nnumber=7\nlist=a;b\\;c;\nx-later=anything").unwrap();
        let want = Sample {
            text: " a;b".into(),
            number: 7,
            maybe: None,
            list: vec!["a".into(), "b;c".into()],
        };
        assert_eq!(got, want);
    }

    #[test]
    fn a_wrong_value_is_refused_with_section_and_key() {
        for (text, why) in [
            ("[s]\ntext=a\nnumber=-1", "[s]: number: \"-1\" is not a whole number"),
            ("[s]\ntext=a\nnumber=+1", "[s]: number: \"+1\" is not a whole number"),
            ("[s]\ntext=a\nnumber=01", "[s]: number: \"01\" is not a whole number"),
            ("[s]\ntext=a\nnumber=", "[s]: number: \"\" is not a whole number"),
            ("[s]\ntext=a\nnumber=1\nmaybe=99999999999999999999", "[s]: maybe: "),
            ("[s]\ntext=a\nnumber=4294967296", "[s]: number: invalid value"),
            ("[s]\ntext=a", "[s]: missing field `number`"),
            ("[s]\ntext=\\q\nnumber=1", "[s]: text: unknown escape \\q"),
            ("[s]\ntext=a\nnumber=1\nother=2", "[s]: unknown field `other`"),
        ] {
            let got = sample(text).unwrap_err();
            assert!(got.starts_with(why), "{text:?}: {got}");
        }
    }
}
