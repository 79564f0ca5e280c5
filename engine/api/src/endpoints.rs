//! All endpoints of the API, each with its types. The node routes by this list, clients call by it,
//! and the OpenAPI document is made of it.

use crate::bundles::BundleQuery;
use crate::cron::{CronOptions, CronRun, ListedCron};
use crate::deploys::{DeployProgress, DeployQuery, DeployedVersion, OptionsQuery};
use crate::domains::{DomainQuery, DomainTarget, ListedDomain};
use crate::endpoint::{AnswerBody, AnyObject, Call, Description, Endpoint, Method, RequestBody};
use crate::functions::{Aliases, Function, InspectedFunction, VersionDetails};
use crate::jobs::{Job, JobsQuery, Submitted};
use crate::kv::{BucketQuery, EntriesPage, KeyQuery, KeysPage, NewEntries, PageQuery};
use crate::logs::{Entries, LogsQuery, OneInvocation};
use crate::options::Options;
use crate::removed::{RemoveQuery, RemovedFunction, Restore, RestoredFunction};
use crate::secrets::ListedSecret;
use crate::status::Status;
use crate::top::Sample;
use crate::versions::{Alias, AliasChange, ListedVersion, Rollback};

/// The paths at which a router serves [`Invoke`]: with anything behind the function, or nothing.
pub const INVOKE_PATHS: [&str; 3] = [
    "/v1/functions/{name}/invoke",
    "/v1/functions/{name}/invoke/",
    "/v1/functions/{name}/invoke/{*path}",
];

/// The same for [`SubmitJob`].
pub const SUBMIT_PATHS: [&str; 3] = [
    "/v1/functions/{name}/invocations",
    "/v1/functions/{name}/invocations/",
    "/v1/functions/{name}/invocations/{*path}",
];

/// Declares endpoints: `NAME = METHOD PATH (PARAMETERS), QUERY, BODY TYPE => BODY TYPE;`.
macro_rules! endpoints {
    ($(
        #[doc = $summary:literal]
        $name:ident = $method:ident $path:literal ($($parameter:ident),*), $query:ty,
            $sent:ident $request:ty => $answered:ident $answer:ty;
    )*) => {
        $(
            #[doc = $summary]
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub struct $name;

            impl $name {
                /// Returns the endpoint with the parameters of its path filled in.
                #[must_use]
                pub fn at($($parameter: &str),*) -> Call<Self> {
                    Call::new(format!($path))
                }
            }

            impl Endpoint for $name {
                const NAME: &'static str = stringify!($name);
                const SUMMARY: &'static str = $summary;
                const METHOD: Method = Method::$method;
                const PATH: &'static str = $path;
                type Query = $query;
                type Request = $request;
                const REQUEST: RequestBody = RequestBody::$sent;
                type Answer = $answer;
                const ANSWER: AnswerBody = AnswerBody::$answered;
            }
        )*

        /// All endpoints.
        pub const ENDPOINTS: &[Description] = &[$(Description::of::<$name>()),*];
    };
}

endpoints! {
    /// Shows the node and its workers.
    GetStatus = Get "/v1/status" (), (), Nothing () => Json Status;
    /// Reads the counters that `sockhop top` makes rates from.
    GetTop = Get "/v1/top" (), (), Nothing () => Json Sample;
    /// Lists all functions.
    ListFunctions = Get "/v1/functions" (), (), Nothing () => Json Vec<Function>;
    /// Shows one function with its versions.
    GetFunction = Get "/v1/functions/{name}" (name), (), Nothing () => Json InspectedFunction;
    /// Deploys a version of a function.
    Deploy = Put "/v1/functions/{name}" (name), DeployQuery,
        DeployForm Options => Created DeployedVersion;
    /// Makes a version of a function with other options and the same file, if they are others.
    SetOptions = Post "/v1/functions/{name}/options" (name), OptionsQuery,
        Json Options => Json DeployedVersion;
    /// Shows how far a deploy is that was sent with an id of its client's.
    GetDeploy = Get "/v1/deploys/{id}" (id), (), Nothing () => Json DeployProgress;
    /// Removes a function. If it can be restored, the answer says until when.
    RemoveFunction = Delete "/v1/functions/{name}" (name), RemoveQuery,
        Nothing () => JsonOrNothing Option<RemovedFunction>;
    /// Restores a removed function.
    RestoreFunction = Post "/v1/functions/{name}/restore" (name), (),
        Json Restore => Json RestoredFunction;
    /// Lists the removed functions that can be restored, the last removal first.
    ListRemoved = Get "/v1/removed" (), (), Nothing () => Json Vec<RemovedFunction>;
    /// Lists the versions of a function, the newest first.
    ListVersions = Get "/v1/functions/{name}/versions" (name), (),
        Nothing () => Json Vec<ListedVersion>;
    /// Shows one version of a function, which may be named by its number or its id.
    GetVersion = Get "/v1/functions/{name}/versions/{version}" (name, version), (),
        Nothing () => Json VersionDetails;
    /// Has a function's bare name mean the version that was active before, or another one.
    RollBack = Post "/v1/functions/{name}/rollback" (name), (), Json Rollback => Json Alias;
    /// Lists the aliases of a function, by name.
    ListAliases = Get "/v1/functions/{name}/aliases" (name), (), Nothing () => Json Aliases;
    /// Sets an alias.
    SetAlias = Put "/v1/functions/{name}/aliases/{alias}" (name, alias), (),
        Json AliasChange => Json Alias;
    /// Removes an alias. The versions that it names stay.
    RemoveAlias = Delete "/v1/functions/{name}/aliases/{alias}" (name, alias), (),
        Nothing () => Nothing ();
    /// Lists the keys of a function's secrets.
    ListSecrets = Get "/v1/functions/{name}/secrets" (name), (),
        Nothing () => Json Vec<ListedSecret>;
    /// Sets a secret. The body is its value.
    SetSecret = Put "/v1/functions/{name}/secrets/{key}" (name, key), (), Bytes () => Nothing ();
    /// Removes a secret.
    RemoveSecret = Delete "/v1/functions/{name}/secrets/{key}" (name, key), (),
        Nothing () => Nothing ();
    /// Lists the keys of a function's bucket, a page at a time.
    ListStateKeys = Get "/v1/functions/{name}/kv" (name), PageQuery, Nothing () => Json KeysPage;
    /// Reads a value of a function's bucket.
    GetStateValue = Get "/v1/functions/{name}/kv/value" (name), KeyQuery, Nothing () => File ();
    /// Sets a value of a function's bucket. The body is the value.
    SetStateValue = Put "/v1/functions/{name}/kv/value" (name), KeyQuery, Bytes () => Nothing ();
    /// Removes a key of a function's bucket.
    RemoveStateKey = Delete "/v1/functions/{name}/kv/value" (name), KeyQuery,
        Nothing () => Nothing ();
    /// Reads the keys and values of a function's bucket, a page at a time.
    ListStateEntries = Get "/v1/functions/{name}/kv/entries" (name), PageQuery,
        Nothing () => Json EntriesPage;
    /// Sets several values of a function's bucket, or none of them.
    SetStateEntries = Post "/v1/functions/{name}/kv/entries" (name), BucketQuery,
        Json NewEntries => Nothing ();
    /// Lists all domains, by host and prefix.
    ListDomains = Get "/v1/domains" (), (), Nothing () => Json Vec<ListedDomain>;
    /// Has a host, or some of its paths, be for a function.
    SetDomain = Put "/v1/domains/{host}" (host), DomainQuery, Json DomainTarget => Json ListedDomain;
    /// Removes a domain.
    RemoveDomain = Delete "/v1/domains/{host}" (host), DomainQuery, Nothing () => Nothing ();
    /// Lists all schedules, by their ids.
    ListCron = Get "/v1/cron" (), (), Nothing () => Json Vec<ListedCron>;
    /// Has a function be rung by a schedule. The same once more changes its policies.
    AddCron = Post "/v1/functions/{name}/cron" (name), (), Json CronOptions => Json ListedCron;
    /// Has the schedules of a function that come from its project be these, and no others.
    SetProjectCron = Put "/v1/functions/{name}/cron" (name), (),
        Json Vec<CronOptions> => Json Vec<ListedCron>;
    /// Removes a schedule.
    RemoveCron = Delete "/v1/cron/{id}" (id), (), Nothing () => Nothing ();
    /// Rings by a schedule now, and answers when the function has.
    RunCron = Post "/v1/cron/{id}/run" (id), (), Nothing () => Json CronRun;
    /// Makes a program of a function that runs without a node.
    GetBundle = Get "/v1/functions/{name}/bundle" (name), BundleQuery, Nothing () => File ();
    /// Calls a function, which may be named as NAME@ALIAS or NAME@VERSION.
    Invoke = Any "/v1/functions/{name}/invoke/{path}" (name, path), (), Bytes () => OfFunction ();
    /// Has a function be called later, at least once, until it succeeds or has failed too often.
    SubmitJob = Post "/v1/functions/{name}/invocations/{path}" (name, path), (),
        Bytes () => Accepted Submitted;
    /// Lists asynchronous invocations, the newest last.
    ListJobs = Get "/v1/jobs" (), JobsQuery, Nothing () => Json Vec<Job>;
    /// Shows one asynchronous invocation.
    GetJob = Get "/v1/jobs/{id}" (id), (), Nothing () => Json Job;
    /// Removes an asynchronous invocation that waits, or a dead letter.
    CancelJob = Delete "/v1/jobs/{id}" (id), (), Nothing () => Nothing ();
    /// Has an asynchronous invocation that waits, or a dead letter, be tried now.
    RetryJob = Post "/v1/jobs/{id}/retry" (id), (), Nothing () => Json Job;
    /// Reads what functions have logged, or follows it.
    GetLogs = Get "/v1/logs" (), LogsQuery, Nothing () => JsonOrEvents Entries;
    /// Shows one invocation with its log.
    GetInvocation = Get "/v1/invocations/{id}" (id), (), Nothing () => Json OneInvocation;
    /// Describes this API as an OpenAPI document.
    GetOpenApi = Get "/v1/openapi.json" (), (), Nothing () => Json AnyObject;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_filled_in() {
        let call = SetAlias::at("hello", "staging");
        assert_eq!(call.path(), "/v1/functions/hello/aliases/staging");
        let call = RemoveFunction::at("hello")
            .with(&RemoveQuery { for_good: true, ..RemoveQuery::default() });
        assert_eq!(call.path(), "/v1/functions/hello?for-good=true");
    }

    #[test]
    fn each_endpoint_is_there_once() {
        for (at, one) in ENDPOINTS.iter().enumerate() {
            assert!(one.path.starts_with("/v1/"), "{}", one.path);
            let again = |other: &&Description| (other.path, other.method) == (one.path, one.method);
            assert!(!ENDPOINTS[..at].iter().any(|other| again(&other)), "{}", one.path);
        }
    }
}
