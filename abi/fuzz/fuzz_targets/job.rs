//! What a worker submits as a job: any bytes in the sealed memory.
//!
//! They are refused, or they are a request that can be made: it keeps to its limits, its parts are
//! read by `http` as they stand, and it comes out of new memory as it was. No fd is leaked.
#![no_main]

use abi::envelope;
use abi::job::Submission;
use abi::limits::JOB_SUBMISSION_BYTES_MAX;
use fuzz::{FdWatch, Origin};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // An error is an input too short to say what is to happen.
    let _ = run(&mut Unstructured::new(bytes));
});

fn run(input: &mut Unstructured<'_>) -> Result<()> {
    let archive = Origin::choose(input)?.archive(input, |input| {
        Ok(envelope::pack(&submission(input)?).expect("a submission can be packed"))
    })?;
    if archive.is_empty() || archive.len() > JOB_SUBMISSION_BYTES_MAX {
        return Ok(());
    }
    let watch = FdWatch::start();
    let memory = abi::sealed::create("job", &archive).expect("there is memory left");
    if let Ok(submission) = Submission::open(&memory) {
        drop(memory);
        assert_eq!(submission.check(), Ok(()));
        let mut request = http::Request::builder()
            .method(submission.method.as_str())
            .uri(submission.path_and_query.as_str());
        for (name, value) in &submission.headers {
            request = request.header(name.as_str(), value.as_slice());
        }
        let (parts, ()) = request.body(()).expect("it can be made").into_parts();
        assert_eq!(parts.headers.len(), submission.headers.len());
        let path = parts.uri.path_and_query().expect("it has a path").as_str();
        let (reference, body) = (submission.alias_or_version.clone(), submission.body.clone());
        let made = Submission::new(reference, &parts.method, path, &parts.headers, body);
        let again = made.seal().expect("there is memory left");
        let again = Submission::open(again).expect("what was made can be opened");
        let sorted = |mut of: Submission| {
            // A map has the headers of one name together.
            of.headers.sort_by(|(one, _), (other, _)| one.cmp(other));
            of
        };
        assert_eq!(sorted(again), sorted(submission));
    }
    watch.end();
    Ok(())
}

fn submission(input: &mut Unstructured<'_>) -> Result<Submission> {
    let path: String = input.arbitrary()?;
    let reference = ["staging", "v12", ""].map(|reference| Some(reference.to_owned()));
    let method = *input.choose(&["GET", "POST", "PURGE", "CONNECT", " "])?;
    let names = ["content-type", "x-a", "x-b", "X-C", "host", "sockhop-job", "prefer", "te"];
    let headers = (0..input.int_in_range(0..=6)?)
        .map(|_| Ok(((*input.choose(&names)?).to_owned(), input.arbitrary()?)))
        .collect::<Result<_>>()?;
    Ok(Submission {
        alias_or_version: input.choose(&reference)?.clone().filter(|name| !name.is_empty()),
        method: method.to_owned(),
        path_and_query: if input.arbitrary()? { format!("/{path}") } else { path },
        headers,
        body: input.arbitrary()?,
    })
}
