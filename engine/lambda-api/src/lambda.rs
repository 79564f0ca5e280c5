//! What a node must do for the API. Owns no fds.

use std::future::Future;

use crate::alias::{Alias, CreateAlias, UpdateAlias};
use crate::error::LambdaError;
use crate::function::{
    AccountSettings, CreateFunction, FunctionConfiguration, FunctionUrl, PublishVersion,
    UpdateCode, UpdateConfiguration,
};
use crate::invocation::{Invocation, InvokeRequest};
use crate::names::{AliasName, FunctionName, FunctionReference, VersionName};

/// A node, as the API asks it. The router has checked who asks, and the shape of all that is
/// passed on; whether there is such a function, version or alias, the node says.
///
/// A future that is dropped before its end means that the client has left. A change that has begun
/// by then should come to its end all the same.
pub trait Lambda: Send + Sync + 'static {
    /// Invokes a function, and returns once it is known which version runs: before its answer, if
    /// that is streamed. With [`ResponseMode::Buffered`](crate::invocation::ResponseMode) the
    /// answer is held in memory up to its limit.
    ///
    /// # Errors
    /// A function that fails is no error: that is a
    /// [`FunctionError`](crate::invocation::FunctionError) of the invocation's completion.
    fn invoke(
        &self,
        request: InvokeRequest,
    ) -> impl Future<Output = Result<Invocation, LambdaError>> + Send;

    /// Returns which version [`Self::invoke`] would run, and runs nothing.
    fn check_invoke(
        &self,
        function: FunctionReference,
    ) -> impl Future<Output = Result<VersionName, LambdaError>> + Send;

    /// Keeps an invocation to be made later (`Event`): it must be on disk when this returns. Returns
    /// the id that the function is told at each attempt.
    fn enqueue(
        &self,
        request: InvokeRequest,
    ) -> impl Future<Output = Result<String, LambdaError>> + Send {
        let function = request.function.name;
        let message = format!(
            "asynchronous invocations (InvocationType Event) are not supported by this node yet; \
             invoke {function} with InvocationType RequestResponse"
        );
        std::future::ready(Err(LambdaError::UnsupportedOperation(message)))
    }

    /// Returns the function that stands for the name `function`, as it does with AWS's emulator:
    /// the only one that there is. Returns `None` if there are several, or none.
    fn only_function(&self) -> impl Future<Output = Option<FunctionName>> + Send;

    /// Creates a function. One that exists is [`LambdaError::ResourceConflict`].
    fn create_function(
        &self,
        function: CreateFunction,
    ) -> impl Future<Output = Result<FunctionConfiguration, LambdaError>> + Send;

    /// Deploys new code of a function.
    fn update_code(
        &self,
        update: UpdateCode,
    ) -> impl Future<Output = Result<FunctionConfiguration, LambdaError>> + Send;

    /// Changes a function's configuration.
    fn update_configuration(
        &self,
        update: UpdateConfiguration,
    ) -> impl Future<Output = Result<FunctionConfiguration, LambdaError>> + Send;

    /// Returns a version of a function.
    fn function(
        &self,
        function: FunctionReference,
    ) -> impl Future<Output = Result<FunctionConfiguration, LambdaError>> + Send;

    /// Returns all functions, each as its `$LATEST`, in any order.
    fn functions(
        &self,
    ) -> impl Future<Output = Result<Vec<FunctionConfiguration>, LambdaError>> + Send;

    /// Deletes a function with all its versions and aliases.
    fn delete_function(
        &self,
        function: FunctionName,
    ) -> impl Future<Output = Result<(), LambdaError>> + Send;

    /// Deletes one version of a function. One that an alias names is
    /// [`LambdaError::ResourceConflict`].
    fn delete_version(
        &self,
        function: FunctionName,
        number: u32,
    ) -> impl Future<Output = Result<(), LambdaError>> + Send;

    /// Returns `$LATEST` by its number. Nothing changes if it was published before.
    fn publish_version(
        &self,
        publish: PublishVersion,
    ) -> impl Future<Output = Result<FunctionConfiguration, LambdaError>> + Send;

    /// Returns all versions of a function, `$LATEST` among them, in any order.
    fn versions(
        &self,
        function: FunctionName,
    ) -> impl Future<Output = Result<Vec<FunctionConfiguration>, LambdaError>> + Send;

    /// Creates an alias. One that exists is [`LambdaError::ResourceConflict`].
    fn create_alias(
        &self,
        alias: CreateAlias,
    ) -> impl Future<Output = Result<Alias, LambdaError>> + Send;

    /// Changes an alias.
    fn update_alias(
        &self,
        update: UpdateAlias,
    ) -> impl Future<Output = Result<Alias, LambdaError>> + Send;

    /// Returns all aliases of a function, in any order.
    fn aliases(
        &self,
        function: FunctionName,
    ) -> impl Future<Output = Result<Vec<Alias>, LambdaError>> + Send;

    /// Returns an alias.
    fn alias(
        &self,
        function: FunctionName,
        alias: AliasName,
    ) -> impl Future<Output = Result<Alias, LambdaError>> + Send;

    /// Deletes an alias. It is no error if there is none.
    fn delete_alias(
        &self,
        function: FunctionName,
        alias: AliasName,
    ) -> impl Future<Output = Result<(), LambdaError>> + Send;

    /// Returns how many invocations a function may have at a time, if that was set.
    fn concurrency(
        &self,
        function: FunctionName,
    ) -> impl Future<Output = Result<Option<u32>, LambdaError>> + Send;

    /// Sets how many invocations a function may have at a time. `None` is the node's default.
    fn set_concurrency(
        &self,
        function: FunctionName,
        concurrency_max: Option<u32>,
    ) -> impl Future<Output = Result<(), LambdaError>> + Send;

    /// Returns the address at which a function, or an alias of it, answers HTTP.
    fn function_url(
        &self,
        function: FunctionReference,
    ) -> impl Future<Output = Result<FunctionUrl, LambdaError>> + Send;

    /// Returns what the node may hold, and holds.
    fn account_settings(&self)
    -> impl Future<Output = Result<AccountSettings, LambdaError>> + Send;
}
