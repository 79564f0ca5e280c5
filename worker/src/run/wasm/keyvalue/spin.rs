//! `fermyon:spin/key-value@2.0.0`, which programs call that are written with Spin's SDK up to its
//! version 5. Owns no fds.

use abi::limits::STATE_BATCH_BYTES_MAX;
use abi::state::{Operation, Position};
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, Resource};

use self::bindings::fermyon::spin::key_value;
use super::{Bucket, Error, View};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/spin-key-value.wit",
        world: "imports",
        imports: { default: async | trappable },
        with: {
            "fermyon:spin/key-value.store": super::super::Bucket,
        },
        trappable_error_type: {
            "fermyon:spin/key-value.error" => super::super::Error,
        },
    });
}

/// Adds the interface to a linker.
pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> View<'_>,
) -> Result<()> {
    key_value::add_to_linker::<_, HasView>(linker, view)
}

struct HasView;

impl HasData for HasView {
    type Data<'a> = View<'a>;
}

impl key_value::Host for View<'_> {
    fn convert_error(&mut self, error: Error) -> Result<key_value::Error> {
        match error {
            Error::NoSuchStore => Ok(key_value::Error::NoSuchStore),
            Error::AccessDenied => Ok(key_value::Error::AccessDenied),
            Error::Other(why) => Ok(key_value::Error::Other(why)),
            Error::Trap(error) => Err(error),
        }
    }
}

impl key_value::HostStore for View<'_> {
    async fn open(&mut self, label: String) -> Result<Resource<Bucket>, Error> {
        Self::open(self, &label)
    }

    async fn get(
        &mut self,
        store: Resource<Bucket>,
        key: String,
    ) -> Result<Option<Vec<u8>>, Error> {
        Self::get(self, &store, key).await
    }

    async fn set(
        &mut self,
        store: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), Error> {
        self.change(&store, Operation::Set { key, value }).await
    }

    async fn delete(&mut self, store: Resource<Bucket>, key: String) -> Result<(), Error> {
        self.change(&store, Operation::DeleteMany { keys: vec![key] }).await
    }

    async fn exists(&mut self, store: Resource<Bucket>, key: String) -> Result<bool, Error> {
        Self::exists(self, &store, key).await
    }

    async fn get_keys(&mut self, store: Resource<Bucket>) -> Result<Vec<String>, Error> {
        let (mut all, mut bytes, mut after) = (Vec::new(), 0, String::new());
        loop {
            // Each page is a call of its own, which --kv-calls bounds.
            let (keys, more) = self.list(&store, Position::After(after)).await?;
            bytes += keys.iter().map(String::len).sum::<usize>();
            if bytes > STATE_BATCH_BYTES_MAX {
                let why = "the store's keys are more than 1 MiB; list them by wasi:keyvalue";
                return Err(why.into());
            }
            after = keys.last().cloned().unwrap_or_default();
            let is_end = !more || keys.is_empty();
            all.extend(keys);
            if is_end {
                return Ok(all);
            }
        }
    }

    async fn drop(&mut self, store: Resource<Bucket>) -> Result<()> {
        self.table.delete(store)?;
        Ok(())
    }
}
