//! `wasi:keyvalue@0.2.0-draft`.

use serde_json::{Value, json};

use self::bindings::wasi::keyvalue::store::{self, Bucket};
use self::bindings::wasi::keyvalue::{atomics, batch};
use super::{Draft, Outcome, bytes, entries, key, keys, text, texts};

mod bindings {
    #![allow(missing_docs, reason = "generated")]

    wit_bindgen::generate!({
        path: "../../../worker/wit/keyvalue-draft.wit",
        world: "imports",
        generate_all,
    });
}

/// The bucket that is open.
#[derive(Default)]
pub(crate) struct Buckets {
    bucket: Option<Bucket>,
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
            "get" => self.bucket()?.get(&key(&of[0])).map(text),
            "exists" => self.bucket()?.exists(&key(&of[0])).map(Value::from),
            "set" => done(self.bucket()?.set(&key(&of[0]), &bytes(&of[1]))),
            "fill" => {
                let length = usize::try_from(of[1].as_u64().expect("a length")).expect("it fits");
                done(self.bucket()?.set(&key(&of[0]), &vec![b'x'; length]))
            }
            "delete" => done(self.bucket()?.delete(&key(&of[0]))),
            "list" => {
                let page = self.bucket()?.list_keys(of[0].as_u64());
                page.map(|page| json!({ "keys": page.keys, "cursor": page.cursor }))
            }
            "increment" => {
                let delta = of[1].as_u64().expect("a number");
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
