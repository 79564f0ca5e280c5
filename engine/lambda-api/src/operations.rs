//! The operations of AWS Lambda that this node has not, so that what is refused is called by its
//! name. Pure but for the handler; owns no fds.

use axum::extract::Request;
use http::Method;

use crate::error::LambdaError;
use crate::failure::Failure;

/// Method, path and name of each, by path. `*` is a segment of any text.
const UNSUPPORTED: &[(&str, &str, &str)] = &[
    ("POST", "/2014-11-13/functions/*/invoke-async", "InvokeAsync"),
    ("GET", "/2015-03-31/event-source-mappings", "ListEventSourceMappings"),
    ("POST", "/2015-03-31/event-source-mappings", "CreateEventSourceMapping"),
    ("DELETE", "/2015-03-31/event-source-mappings/*", "DeleteEventSourceMapping"),
    ("GET", "/2015-03-31/event-source-mappings/*", "GetEventSourceMapping"),
    ("PUT", "/2015-03-31/event-source-mappings/*", "UpdateEventSourceMapping"),
    ("GET", "/2015-03-31/functions/*/policy", "GetPolicy"),
    ("POST", "/2015-03-31/functions/*/policy", "AddPermission"),
    ("DELETE", "/2015-03-31/functions/*/policy/*", "RemovePermission"),
    ("DELETE", "/2017-03-31/tags/*", "UntagResource"),
    ("POST", "/2017-03-31/tags/*", "TagResource"),
    ("GET", "/2018-10-31/layers", "ListLayers"),
    ("GET", "/2018-10-31/layers/*/versions", "ListLayerVersions"),
    ("POST", "/2018-10-31/layers/*/versions", "PublishLayerVersion"),
    ("DELETE", "/2018-10-31/layers/*/versions/*", "DeleteLayerVersion"),
    ("GET", "/2018-10-31/layers/*/versions/*", "GetLayerVersion"),
    ("GET", "/2018-10-31/layers/*/versions/*/policy", "GetLayerVersionPolicy"),
    ("POST", "/2018-10-31/layers/*/versions/*/policy", "AddLayerVersionPermission"),
    ("DELETE", "/2018-10-31/layers/*/versions/*/policy/*", "RemoveLayerVersionPermission"),
    ("DELETE", "/2019-09-25/functions/*/event-invoke-config", "DeleteFunctionEventInvokeConfig"),
    ("GET", "/2019-09-25/functions/*/event-invoke-config", "GetFunctionEventInvokeConfig"),
    ("POST", "/2019-09-25/functions/*/event-invoke-config", "UpdateFunctionEventInvokeConfig"),
    ("PUT", "/2019-09-25/functions/*/event-invoke-config", "PutFunctionEventInvokeConfig"),
    ("GET", "/2019-09-25/functions/*/event-invoke-config/list", "ListFunctionEventInvokeConfigs"),
    (
        "DELETE",
        "/2019-09-30/functions/*/provisioned-concurrency",
        "DeleteProvisionedConcurrencyConfig",
    ),
    ("GET", "/2019-09-30/functions/*/provisioned-concurrency", "GetProvisionedConcurrencyConfig"),
    ("PUT", "/2019-09-30/functions/*/provisioned-concurrency", "PutProvisionedConcurrencyConfig"),
    ("GET", "/2020-04-22/code-signing-configs", "ListCodeSigningConfigs"),
    ("POST", "/2020-04-22/code-signing-configs", "CreateCodeSigningConfig"),
    ("DELETE", "/2020-04-22/code-signing-configs/*", "DeleteCodeSigningConfig"),
    ("GET", "/2020-04-22/code-signing-configs/*", "GetCodeSigningConfig"),
    ("PUT", "/2020-04-22/code-signing-configs/*", "UpdateCodeSigningConfig"),
    ("GET", "/2020-04-22/code-signing-configs/*/functions", "ListFunctionsByCodeSigningConfig"),
    ("DELETE", "/2020-06-30/functions/*/code-signing-config", "DeleteFunctionCodeSigningConfig"),
    ("GET", "/2020-06-30/functions/*/code-signing-config", "GetFunctionCodeSigningConfig"),
    ("PUT", "/2020-06-30/functions/*/code-signing-config", "PutFunctionCodeSigningConfig"),
    ("GET", "/2021-07-20/functions/*/runtime-management-config", "GetRuntimeManagementConfig"),
    ("PUT", "/2021-07-20/functions/*/runtime-management-config", "PutRuntimeManagementConfig"),
    ("DELETE", "/2021-10-31/functions/*/url", "DeleteFunctionUrlConfig"),
    ("GET", "/2024-08-31/functions/*/recursion-config", "GetFunctionRecursionConfig"),
    ("PUT", "/2024-08-31/functions/*/recursion-config", "PutFunctionRecursionConfig"),
    ("GET", "/2025-11-30/capacity-providers", "ListCapacityProviders"),
    ("POST", "/2025-11-30/capacity-providers", "CreateCapacityProvider"),
    ("DELETE", "/2025-11-30/capacity-providers/*", "DeleteCapacityProvider"),
    ("GET", "/2025-11-30/capacity-providers/*", "GetCapacityProvider"),
    ("PUT", "/2025-11-30/capacity-providers/*", "UpdateCapacityProvider"),
    (
        "GET",
        "/2025-11-30/capacity-providers/*/function-versions",
        "ListFunctionVersionsByCapacityProvider",
    ),
    ("GET", "/2025-11-30/functions/*/function-scaling-config", "GetFunctionScalingConfig"),
    ("PUT", "/2025-11-30/functions/*/function-scaling-config", "PutFunctionScalingConfig"),
    (
        "POST",
        "/2025-12-01/durable-execution-callbacks/*/fail",
        "SendDurableExecutionCallbackFailure",
    ),
    (
        "POST",
        "/2025-12-01/durable-execution-callbacks/*/heartbeat",
        "SendDurableExecutionCallbackHeartbeat",
    ),
    (
        "POST",
        "/2025-12-01/durable-execution-callbacks/*/succeed",
        "SendDurableExecutionCallbackSuccess",
    ),
    ("DELETE", "/2025-12-01/durable-executions/*", "DeleteDurableExecution"),
    ("GET", "/2025-12-01/durable-executions/*", "GetDurableExecution"),
    ("POST", "/2025-12-01/durable-executions/*/checkpoint", "CheckpointDurableExecution"),
    ("GET", "/2025-12-01/durable-executions/*/history", "GetDurableExecutionHistory"),
    ("POST", "/2025-12-01/durable-executions/*/pause", "PauseDurableExecution"),
    ("POST", "/2025-12-01/durable-executions/*/resume", "ResumeDurableExecution"),
    ("GET", "/2025-12-01/durable-executions/*/state", "GetDurableExecutionState"),
    ("POST", "/2025-12-01/durable-executions/*/stop", "StopDurableExecution"),
    ("GET", "/2025-12-01/functions/*/durable-executions", "ListDurableExecutionsByFunction"),
    ("DELETE", "/2026-07-09/resource-policy/*", "DeleteResourcePolicy"),
    ("GET", "/2026-07-09/resource-policy/*", "GetResourcePolicy"),
    ("PUT", "/2026-07-09/resource-policy/*", "PutResourcePolicy"),
];

/// How much of a path is told back.
const PATH_CHARS_MAX: usize = 200;

/// Answers what no route takes.
pub(crate) async fn unsupported(request: Request) -> Failure {
    refusal(request.method(), request.uri().path())
}

fn refusal(method: &Method, path: &str) -> Failure {
    match name(method, path) {
        Some(name) => LambdaError::UnsupportedOperation(format!(
            "the operation {name} is not supported by this node; its guide says which are \
             (sockhop guide)"
        ))
        .into(),
        None => {
            let path: String = path.chars().take(PATH_CHARS_MAX).collect();
            Failure::unknown_operation(format!(
                "no operation of AWS Lambda is called by {method} {path}"
            ))
        }
    }
}

/// Returns the name of an operation that this node has not. Returns `None` if AWS has none either.
fn name(method: &Method, path: &str) -> Option<&'static str> {
    let matches = |pattern: &str| {
        pattern.split('/').count() == path.split('/').count()
            && pattern.split('/').zip(path.split('/')).all(|(wanted, segment)| {
                (wanted == "*" && !segment.is_empty()) || wanted == segment
            })
    };
    UNSUPPORTED
        .iter()
        .find(|(of, pattern, _)| *of == method.as_str() && matches(pattern))
        .map(|(_, _, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_found_by_method_and_path() {
        for (method, path, expected) in [
            (Method::POST, "/2014-11-13/functions/a/invoke-async", Some("InvokeAsync")),
            (Method::GET, "/2015-03-31/functions/a/policy", Some("GetPolicy")),
            (Method::POST, "/2015-03-31/functions/a/policy", Some("AddPermission")),
            (Method::GET, "/2018-10-31/layers", Some("ListLayers")),
            (Method::GET, "/2015-03-31/functions//policy", None),
            (Method::PATCH, "/2015-03-31/functions/a/policy", None),
            (Method::GET, "/", None),
            (Method::GET, "", None),
        ] {
            assert_eq!(name(&method, path), expected, "{method} {path}");
        }
    }
}
