//! The folder of an Azure function app whose custom handler is the executable. Pure; owns no fds.
//!
//! The app has one function that takes every request, and its handler gets each as it is. Function
//! and handler have fixed names, so that no function's name can be the handler's.

use crate::PackedFile;

/// No prefix, or the function would get `/api/…` alone. Requests are forwarded, or they would
/// come as JSON.
const HOST_JSON: &str = r#"{
  "version": "2.0",
  "customHandler": {
    "description": {
      "defaultExecutablePath": "handler"
    },
    "enableForwardingHttpRequest": true
  },
  "extensions": {
    "http": {
      "routePrefix": ""
    }
  }
}
"#;

/// All methods, as none is named: `methods` would have to list them.
const FUNCTION_JSON: &str = r#"{
  "bindings": [
    {
      "type": "httpTrigger",
      "direction": "in",
      "name": "req",
      "authLevel": "anonymous",
      "route": "{*path}"
    },
    {
      "type": "http",
      "direction": "out",
      "name": "res"
    }
  ]
}
"#;

/// Returns the files of an app with `executable` as its handler.
pub(crate) fn files(executable: &[u8]) -> Vec<PackedFile> {
    let file = |path: &str, mode, bytes: &[u8]| PackedFile {
        path: path.to_owned(),
        mode,
        bytes: bytes.to_vec(),
    };
    vec![
        file("host.json", 0o644, HOST_JSON.as_bytes()),
        file("function/function.json", 0o644, FUNCTION_JSON.as_bytes()),
        file("handler", 0o755, executable),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use azure::app::{App, Executable, ReadOptions};
    use azure::function::{AuthLevel, Mode};
    use azure::route::Found;
    use http::Method;

    use super::*;

    #[test]
    fn an_app_forwards_every_request_to_its_handler() {
        let folder = tempfile::tempdir().unwrap();
        for file in files(b"executable") {
            let path = folder.path().join(&file.path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file.bytes).unwrap();
            assert_eq!(file.mode == 0o755, file.path == "handler");
        }
        let app = App::read(folder.path(), ReadOptions::default()).unwrap();
        assert!(app.notes.is_empty(), "{:?}", app.notes);
        assert_eq!(app.executable, Executable::InApp(Path::new("handler").to_owned()));
        assert_eq!(app.route_prefix, "");
        let [function] = app.functions.as_slice() else { panic!("{:?}", app.functions) };
        assert_eq!(function.mode, Mode::Forward);
        assert_eq!(function.auth_level, AuthLevel::Anonymous);
        for path in ["/", "/a", "/api/a/b%20c"] {
            for method in [Method::GET, Method::POST, Method::DELETE, Method::OPTIONS] {
                let found = app.find(&method, path);
                assert!(matches!(found, Found::Function { .. }), "{method} {path}");
            }
        }
    }
}
