//! `wasi:keyvalue@0.2.0-draft2`.

use serde_json::{Value, json};

use self::bindings::wasi::keyvalue::store::{self, Bucket};
use self::bindings::wasi::keyvalue::{atomics, atomics::Cas, batch};
use super::{Draft, Outcome, bytes, entries, key, keys, text, texts};

mod bindings {
    #![allow(missing_docs, reason = "generated")]

    wit_bindgen::generate!({
        path: "../../../worker/wit/keyvalue-draft2.wit",
        world: "imports",
        generate_all,
    });
}

/// The bucket that is open, and the value that is about to be changed.
#[derive(Default)]
pub(crate) struct Buckets {
    bucket: Option<Bucket>,
    cas: Option<Cas>,
}

impl Buckets {
    fn bucket(&mut self) -> Result<&Bucket, String> {
        if self.bucket.is_none() {
            self.bucket = Some(store::open("default").map_err(reason)?);
        }
        Ok(self.bucket.as_ref().expect("just opened"))
    }
}

fn reason(error: store::Error) -> String {
    match error {
        store::Error::NoSuchStore => "no-such-store".to_owned(),
        store::Error::AccessDenied => "access-denied".to_owned(),
        store::Error::Other(why) => why,
    }
}

impl Draft for Buckets {
    fn perform(&mut self, name: &str, of: &[Value]) -> Outcome {
        let done = |result: Result<(), store::Error>| result.map(|()| Value::Null);
        let outcome = match name {
            "open" => {
                self.bucket = Some(store::open(&key(&of[0])).map_err(reason)?);
                Ok(Value::Null)
            }
            "cas" => {
                self.cas = Some(Cas::new(self.bucket()?, &key(&of[0])).map_err(reason)?);
                Ok(Value::Null)
            }
            "current" => self.cas.as_ref().expect("cas comes first").current().map(text),
            "swap" => {
                match atomics::swap(self.cas.take().expect("cas comes first"), &bytes(&of[0])) {
                    Ok(()) => Ok(Value::Null),
                    Err(atomics::CasError::StoreError(error)) => Err(error),
                    Err(atomics::CasError::CasFailed(cas)) => {
                        self.cas = Some(cas);
                        return Err("cas-failed".to_owned());
                    }
                }
            }
            "append" => {
                let mut cas = Cas::new(self.bucket()?, &key(&of[0])).map_err(reason)?;
                let more = bytes(&of[1]);
                loop {
                    let mut value = cas.current().map_err(reason)?.unwrap_or_default();
                    value.extend(&more);
                    match atomics::swap(cas, &value) {
                        Err(atomics::CasError::CasFailed(again)) => cas = again,
                        Err(atomics::CasError::StoreError(error)) => break Err(error),
                        Ok(()) => break Ok(Value::Null),
                    }
                }
            }
            "get" => self.bucket()?.get(&key(&of[0])).map(text),
            "exists" => self.bucket()?.exists(&key(&of[0])).map(Value::from),
            "set" => done(self.bucket()?.set(&key(&of[0]), &bytes(&of[1]))),
            "fill" => {
                let length = usize::try_from(of[1].as_u64().expect("a length")).expect("it fits");
                done(self.bucket()?.set(&key(&of[0]), &vec![b'x'; length]))
            }
            "delete" => done(self.bucket()?.delete(&key(&of[0]))),
            "list" => {
                let page = self.bucket()?.list_keys(of[0].as_str());
                page.map(|page| json!({ "keys": page.keys, "cursor": page.cursor }))
            }
            "increment" => {
                let delta = of[1].as_i64().expect("a number");
                atomics::increment(self.bucket()?, &key(&of[0]), delta).map(Value::from)
            }
            "get-many" => batch::get_many(self.bucket()?, &keys(&of[0])).map(texts),
            "set-many" => done(batch::set_many(self.bucket()?, &entries(&of[0]))),
            "delete-many" => done(batch::delete_many(self.bucket()?, &keys(&of[0]))),
            other => panic!("{other} is no operation"),
        };
        outcome.map_err(reason)
    }
}
