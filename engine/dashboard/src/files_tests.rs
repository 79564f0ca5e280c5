//! What the files say agrees with the API, and with one another.

use std::collections::BTreeSet;
use std::path::Path;

use abi::board::LATENCY_BOUNDS_US;
use api::endpoint::{Method, TOKEN_HEADER};
use api::endpoints::ENDPOINTS;

use super::*;

fn text(path: &str) -> &'static str {
    find(path).unwrap().text
}

/// The files that a module names behind `start`, as paths below `files/`.
fn named(file: &File, start: &str) -> Vec<String> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let resolved = |path: &str| {
        let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
        for part in path.split('/') {
            match part {
                "." => {}
                ".." => drop(parts.pop()),
                other => parts.push(other),
            }
        }
        parts.join("/")
    };
    let paths = file.text.lines().filter_map(|line| line.split_once(start)?.1.split_once('"'));
    paths.map(|(path, _)| resolved(path)).collect()
}

#[test]
fn all_that_is_there_is_served() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("files");
    let (mut folders, mut there) = (vec![root.clone()], BTreeSet::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                there.insert(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let served = FILES.iter().map(|file| file.path).chain(["index.html"]).map(str::to_owned);
    assert_eq!(there, served.collect());
}

#[test]
fn what_is_imported_is_there_and_what_the_page_needs_is_asked_for_at_once() {
    let place = |path: &str| FILES.iter().position(|other| other.path == path);
    for (at, file) in FILES.iter().enumerate() {
        for path in named(file, " from \"") {
            let found = place(&path).unwrap_or_else(|| panic!("{} imports {path}", file.path));
            assert!(at >= PRELOADED || found < PRELOADED, "{} needs {path} at once", file.path);
        }
        for path in named(file, "import(\"") {
            assert!(place(&path).is_some(), "{} imports {path} later", file.path);
        }
    }
    assert!(FILES[..PRELOADED].iter().all(|file| file.path.ends_with(".js")));
}

#[test]
fn every_endpoint_that_is_used_is_one_of_the_api() {
    let method = |method: Method| match method {
        Method::Get => "GET",
        Method::Put => "PUT",
        Method::Post => "POST",
        Method::Delete => "DELETE",
        Method::Any => "ANY",
    };
    let lines = text("endpoints.js").lines().filter_map(|line| line.strip_prefix("export const "));
    let mut used = 0;
    for line in lines {
        let (name, rest) = line.split_once(" = ").unwrap();
        let known = ENDPOINTS.iter().find(|known| known.name == name);
        let known = known.unwrap_or_else(|| panic!("the API has no {name}"));
        assert_eq!(rest, format!("[\"{}\", \"{}\"];", method(known.method), known.path), "{name}");
        used += 1;
    }
    assert!(used > 20, "{used}");
    assert!(text("api.js").contains(&format!("\"{TOKEN_HEADER}\"")));
    for file in FILES.iter().filter(|file| file.path != "endpoints.js") {
        assert!(!file.text.contains("/v1/"), "{} names a path of the API", file.path);
    }
}

#[test]
fn latency_is_counted_in_the_ranges_that_the_node_has() {
    let code = text("figures.js");
    let list = code.split_once("LATENCY_BOUNDS_US = [").unwrap().1.split_once(']').unwrap().0;
    let bounds = list.split(',').map(str::trim).filter(|bound| !bound.is_empty());
    let bounds = bounds.map(|bound| match bound {
        "Infinity" => u64::MAX,
        number => number.parse().unwrap(),
    });
    assert_eq!(bounds.collect::<Vec<_>>(), LATENCY_BOUNDS_US);
}

#[test]
fn nothing_becomes_html_and_nothing_comes_from_elsewhere() {
    for file in FILES {
        for never in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!file.text.contains(never), "{} has {never}", file.path);
        }
        let foreign = file.text.replace("http://www.w3.org/2000/svg", "");
        assert!(!foreign.contains("://"), "{} names another place", file.path);
    }
}

#[test]
fn files_are_small_and_say_what_they_are() {
    let mut bytes = page().len();
    for file in FILES {
        bytes += file.text.len();
        if file.path.ends_with(".js") {
            assert!(file.text.starts_with("// "), "{}", file.path);
            assert!(file.text.lines().count() < 200, "{}", file.path);
        }
    }
    assert!(bytes < 200 * 1024, "{bytes}");
    assert!(!page().contains('{'), "{}", page());
}
