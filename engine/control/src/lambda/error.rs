//! Errors of the node as the exceptions of AWS Lambda. Owns no fds.

use host::fault::{ClientFault, FunctionFault, NodeFault, Whose};
use lambda_api::LambdaError;
use lambda_api::names::FunctionReference;

use crate::functions::ChangeError;

/// Returns the exception for a change or look-up that failed.
pub(super) fn failed(error: ChangeError) -> LambdaError {
    let message = error.to_string();
    match error.fault().whose {
        Whose::Client(ClientFault::NotFound) => LambdaError::ResourceNotFound(message),
        Whose::Client(ClientFault::Conflict) => LambdaError::ResourceConflict(message),
        Whose::Client(ClientFault::TooLarge) => LambdaError::RequestTooLarge(message),
        Whose::Client(ClientFault::Invalid | ClientFault::Unauthorized)
        | Whose::Function(FunctionFault::Unfit) => LambdaError::InvalidParameterValue(message),
        Whose::Node(NodeFault::Full) => LambdaError::CodeStorageExceeded(message),
        Whose::Function(FunctionFault::Unreached) | Whose::Node(_) | Whose::Store(_) => {
            LambdaError::Service(message)
        }
    }
}

/// Returns the exception for a function, version or alias that does not exist, in AWS's words.
pub(super) fn unknown(reference: &FunctionReference) -> LambdaError {
    LambdaError::ResourceNotFound(format!(
        "Function not found: arn:aws:lambda:us-east-1:000000000000:function:{reference}"
    ))
}
