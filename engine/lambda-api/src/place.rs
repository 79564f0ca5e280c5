//! Where the node says it is: the region and the account in the ARNs of its functions. Owns no fds.

use std::fmt::Display;

use crate::names::{AliasName, FunctionName, FunctionReference, VersionName};

/// A region and an account. A node has neither, but every ARN does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The region, as functions have it in `AWS_REGION`.
    pub region: String,
    /// The account: twelve digits.
    pub account: String,
}

impl Default for Place {
    fn default() -> Self {
        Self { region: "us-east-1".to_owned(), account: "000000000000".to_owned() }
    }
}

impl Place {
    /// Returns the ARN of a function as it was named: with the qualifier if there was one.
    #[must_use]
    pub fn function_arn(&self, function: &FunctionReference) -> String {
        self.arn(function)
    }

    /// Returns the ARN of one version of a function.
    #[must_use]
    pub fn version_arn(&self, name: &FunctionName, version: VersionName) -> String {
        self.arn(format_args!("{name}:{version}"))
    }

    /// Returns the ARN of an alias.
    #[must_use]
    pub fn alias_arn(&self, name: &FunctionName, alias: &AliasName) -> String {
        self.arn(format_args!("{name}:{alias}"))
    }

    fn arn(&self, resource: impl Display) -> String {
        format!("arn:aws:lambda:{}:{}:function:{resource}", self.region, self.account)
    }
}
