//! The OpenAPI document (3.1) of all endpoints, made of their types.
//!
//! Since OpenAPI 3.1 a schema is plain JSON Schema, which [`schemars`] makes of a type by the same
//! attributes that serde goes by. What stands around the schemas is made here.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::deploys::{ARTEFACT_PART, ID_HEADER, OPTIONS_PART};
use crate::endpoint::{AnswerBody, AnyObject, Description, Method, RequestBody, TOKEN_HEADER};
use crate::endpoints::{Deploy, ENDPOINTS};
use crate::errors::ErrorAnswer;

/// Where schemas with a name are in the document.
const SCHEMAS: &str = "/components/schemas";
/// The methods that a function may be called with.
const ANY: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];

/// Makes schemas: what is sent and what is answered are described differently, since what may be
/// left out of one need not be absent from the other.
struct Schemas {
    sent: SchemaGenerator,
    answered: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12()
                .with(|settings| settings.definitions_path = SCHEMAS.into())
        };
        Self {
            sent: settings().for_deserialize().into_generator(),
            answered: settings().for_serialize().into_generator(),
        }
    }

    /// All schemas with a name, by name.
    fn into_components(mut self) -> Map<String, Value> {
        let mut components = self.answered.take_definitions(true);
        components.extend(self.sent.take_definitions(true));
        components
    }
}

/// Returns the document of a node of the build `version`.
#[must_use]
pub fn document(version: &str) -> AnyObject {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for endpoint in ENDPOINTS {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        for (method, operation) in operations(endpoint, &mut schemas) {
            path[method] = operation;
        }
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "sockhop control API",
            "version": version,
            "description": "The API that the `sockhop` commands use. Over TCP (`--admin`) it needs \
                            the token; on the Unix socket in the node's data folder it does not.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas.into_components(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "tokenInOwnHeader": {
                    "type": "apiKey",
                    "in": "header",
                    "name": TOKEN_HEADER,
                    "description": "`Bearer TOKEN`, if a function is to have `authorization`.",
                },
            },
        },
        "security": [{ "token": [] }, { "tokenInOwnHeader": [] }, {}],
    });
    match document {
        Value::Object(document) => AnyObject(document),
        _ => AnyObject(Map::new()),
    }
}

/// Returns the operations of an endpoint by method: one, unless it takes any.
fn operations(endpoint: &Description, schemas: &mut Schemas) -> Vec<(&'static str, Value)> {
    let method = match endpoint.method {
        Method::Get => "get",
        Method::Put => "put",
        Method::Post => "post",
        Method::Delete => "delete",
        Method::Any => {
            let one = |method| {
                let name = format!("{}-{method}", endpoint.name);
                (method, operation(endpoint, &name, schemas))
            };
            return ANY.into_iter().map(one).collect();
        }
    };
    vec![(method, operation(endpoint, endpoint.name, schemas))]
}

fn operation(endpoint: &Description, name: &str, schemas: &mut Schemas) -> Value {
    let mut operation = json!({
        "operationId": name,
        "summary": endpoint.summary.trim(),
        "responses": answers(endpoint, schemas),
    });
    let parameters = parameters(endpoint, schemas);
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(body) = request(endpoint, schemas) {
        operation["requestBody"] = body;
    }
    operation
}

/// Returns the parameters of an endpoint's path, its query and its headers.
fn parameters(endpoint: &Description, schemas: &mut Schemas) -> Vec<Value> {
    let in_path =
        endpoint.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = in_path
        .map(|name| {
            let schema = json!({ "type": "string" });
            json!({ "in": "path", "name": name, "required": true, "schema": schema })
        })
        .collect();
    let query = (endpoint.query)(&mut schemas.sent);
    for (name, schema) in query.get("properties").and_then(Value::as_object).into_iter().flatten() {
        parameters.push(json!({ "in": "query", "name": name, "schema": schema }));
    }
    if endpoint.name == <Deploy as crate::endpoint::Endpoint>::NAME {
        let description = "A UUID by which the deploy can be asked about while it is under way.";
        let schema = json!({ "type": "string", "format": "uuid" });
        parameters.push(json!({
            "in": "header", "name": ID_HEADER, "description": description, "schema": schema,
        }));
    }
    parameters
}

fn request(endpoint: &Description, schemas: &mut Schemas) -> Option<Value> {
    let (body, schema) = endpoint.request;
    let mut schema = || schema(&mut schemas.sent);
    match body {
        RequestBody::Nothing => None,
        RequestBody::Json => Some(json!({ "content": content("application/json", &schema()) })),
        RequestBody::Bytes => Some(json!({ "content": { "*/*": {} } })),
        RequestBody::DeployForm => {
            let form = json!({
                "type": "object",
                "properties": {
                    OPTIONS_PART: schema(),
                    ARTEFACT_PART: { "contentMediaType": "application/wasm" },
                },
                "required": [ARTEFACT_PART],
            });
            let encoding = json!({
                OPTIONS_PART: { "contentType": "application/json" },
                ARTEFACT_PART: { "contentType": "application/wasm" },
            });
            let content =
                json!({ "multipart/form-data": { "schema": form, "encoding": encoding } });
            Some(json!({ "required": true, "content": content }))
        }
    }
}

fn answers(endpoint: &Description, schemas: &mut Schemas) -> Value {
    let error = schemas.answered.subschema_for::<ErrorAnswer>();
    let error = json!({
        "description": "It was refused, or has failed.",
        "content": content("application/json", &error),
    });
    let nothing = json!({ "description": "Done." });
    let (body, schema) = endpoint.answer;
    let mut json = || {
        let schema = schema(&mut schemas.answered);
        json!({ "description": "Done.", "content": content("application/json", &schema) })
    };
    match body {
        AnswerBody::Json => json!({ "200": json(), "default": error }),
        AnswerBody::Created => json!({ "201": json(), "default": error }),
        AnswerBody::Accepted => json!({ "202": json(), "default": error }),
        AnswerBody::Nothing => json!({ "204": nothing, "default": error }),
        AnswerBody::JsonOrNothing => json!({ "200": json(), "204": nothing, "default": error }),
        AnswerBody::JsonOrEvents => {
            let mut json = json();
            json["content"]["text/event-stream"] = json!({ "schema": { "type": "string" } });
            json!({ "200": json, "default": error })
        }
        AnswerBody::File => {
            let file = json!({
                "description": "The file.",
                "content": { "application/octet-stream": {} },
            });
            json!({ "200": file, "default": error })
        }
        AnswerBody::OfFunction => {
            let description = "What the function replies; an error of the node has no \
                               `sockhop-invocation-id`.";
            json!({ "default": { "description": description, "content": { "*/*": {} } } })
        }
    }
}

fn content(media_type: &str, schema: &Schema) -> Value {
    json!({ media_type: { "schema": schema } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_and_every_schema_that_is_named_is_in_the_document() {
        let document = Value::Object(document("1").0);
        for endpoint in ENDPOINTS {
            assert!(document["paths"][endpoint.path].is_object(), "{}", endpoint.path);
        }
        let text = document.to_string();
        let named =
            text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next());
        for name in named {
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
        let responses = &document["paths"]["/v1/functions/{name}"]["get"]["responses"];
        let schema = &responses["200"]["content"]["application/json"]["schema"];
        assert_eq!(schema["$ref"], "#/components/schemas/InspectedFunction");
    }

    #[test]
    fn no_name_stands_for_two_schemas() {
        let mut schemas = Schemas::new();
        for endpoint in ENDPOINTS {
            operations(endpoint, &mut schemas);
        }
        let answered = schemas.answered.take_definitions(true);
        for (name, schema) in schemas.sent.take_definitions(true) {
            assert!(answered.get(&name).is_none_or(|other| *other == schema), "{name}");
        }
    }
}
