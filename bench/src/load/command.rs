//! `load` itself: what its arguments come to. Opens the file of a body for the length of one read
//! only.

use std::time::Duration;

use super::{Error, Load, payload, run_live};
use crate::cli::LoadArguments;
use crate::client::{PreparedRequest, RequestMix};
use crate::environment::Build;
use crate::output;
use crate::target::{Request, Session, Target};

/// Where a URL has the number of a function.
const PLACE: &str = "{}";

/// The command.
pub fn command(arguments: &LoadArguments) -> Result<(), Error> {
    let request = Request::new(arguments.method.as_deref(), &arguments.headers, body(arguments)?)?;
    let targets = targets(arguments)?;
    let Some(first) = targets.first() else { unreachable!("there is at least one URL") };
    let mix: Result<Vec<PreparedRequest>, Error> = targets
        .iter()
        .map(|target| Ok(target.prepare(&request, expected_body(arguments, target, &request)?)))
        .collect();
    let Some(mix) = RequestMix::zipf(mix?, arguments.zipf) else {
        unreachable!("one for each target")
    };
    let load = Load {
        protocol: arguments.protocol(),
        resumes: arguments.resume,
        connections: arguments.connections,
        rate: arguments.rate.clone(),
        warmup: Duration::from_secs_f64(arguments.warmup_seconds),
        window: Duration::from_secs_f64(arguments.seconds),
        kept_share: f64::from(arguments.keep_alive_percent()) / 100.0,
        timeout: Duration::from_secs_f64(arguments.timeout_seconds),
        cores: arguments.cores.clone(),
        spin: arguments.spin,
    };
    let payload_bytes = request.body.as_ref().map(Vec::len);
    let report = run_live(first, mix, payload_bytes, &load, true)?;
    if arguments.json {
        output::show(&(serde_json::to_string_pretty(&report)? + "\n"));
    } else {
        output::show(&report);
        if let Some(warning) = Build::of_this().warning() {
            output::show(&format!("warning: {warning}\n"));
        }
    }
    if report.requests == 0 { Err(Error::NothingGood) } else { Ok(()) }
}

fn body(arguments: &LoadArguments) -> Result<Option<Vec<u8>>, Error> {
    if let Some(path) = &arguments.body_file {
        let bytes =
            std::fs::read(path).map_err(|source| Error::Body { path: path.clone(), source })?;
        return Ok(Some(bytes));
    }
    let counted = arguments.post_bytes.map(|bytes| payload(bytes as usize));
    Ok(arguments.body.as_ref().map(|text| text.clone().into_bytes()).or(counted))
}

/// One target, or as many as there are functions.
fn targets(arguments: &LoadArguments) -> Result<Vec<Target>, Error> {
    if arguments.functions == 1 {
        return Ok(vec![Target::parse(&arguments.url)?]);
    }
    // In the path only: all functions are behind one address.
    let path = arguments
        .url
        .find("://")
        .and_then(|at| arguments.url[at + 3..].find('/').map(|slash| at + 3 + slash));
    let Some((base, path)) = path
        .map(|at| arguments.url.split_at(at))
        .filter(|(base, path)| path.contains(PLACE) && !base.contains(PLACE))
    else {
        return Err(Error::NoPlace { functions: arguments.functions });
    };
    (0..arguments.functions)
        .map(|number| {
            Ok(Target::parse(&format!("{base}{}", path.replace(PLACE, &number.to_string())))?)
        })
        .collect()
}

/// What was said, or what was sent, or what comes first.
fn expected_body(
    arguments: &LoadArguments,
    target: &Target,
    request: &Request,
) -> Result<Option<Vec<u8>>, Error> {
    if arguments.any_body {
        return Ok(None);
    }
    if let Some(body) = &arguments.expect_body {
        return Ok(Some(body.clone().into_bytes()));
    }
    if arguments.post_bytes.is_some() {
        return Ok(request.body.clone());
    }
    Ok(Some(Session::open(target)?.exchange(&target.bytes(request, true))?.body))
}
