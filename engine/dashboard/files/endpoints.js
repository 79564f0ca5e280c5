// The endpoints of the control API that the dashboard uses, by the names and with the methods and
// paths that the API's own list has. A test of this crate compares them.

export const GetStatus = ["GET", "/v1/status"];
export const GetTop = ["GET", "/v1/top"];
export const ListFunctions = ["GET", "/v1/functions"];
export const GetFunction = ["GET", "/v1/functions/{name}"];
export const Deploy = ["PUT", "/v1/functions/{name}"];
export const GetDeploy = ["GET", "/v1/deploys/{id}"];
export const RemoveFunction = ["DELETE", "/v1/functions/{name}"];
export const RestoreFunction = ["POST", "/v1/functions/{name}/restore"];
export const ListRemoved = ["GET", "/v1/removed"];
export const RollBack = ["POST", "/v1/functions/{name}/rollback"];
export const SetAlias = ["PUT", "/v1/functions/{name}/aliases/{alias}"];
export const RemoveAlias = ["DELETE", "/v1/functions/{name}/aliases/{alias}"];
export const ListSecrets = ["GET", "/v1/functions/{name}/secrets"];
export const SetSecret = ["PUT", "/v1/functions/{name}/secrets/{key}"];
export const RemoveSecret = ["DELETE", "/v1/functions/{name}/secrets/{key}"];
export const ListStateKeys = ["GET", "/v1/functions/{name}/kv"];
export const GetStateValue = ["GET", "/v1/functions/{name}/kv/value"];
export const SetStateValue = ["PUT", "/v1/functions/{name}/kv/value"];
export const RemoveStateKey = ["DELETE", "/v1/functions/{name}/kv/value"];
export const ListDomains = ["GET", "/v1/domains"];
export const SetDomain = ["PUT", "/v1/domains/{host}"];
export const RemoveDomain = ["DELETE", "/v1/domains/{host}"];
export const ListCron = ["GET", "/v1/cron"];
export const AddCron = ["POST", "/v1/functions/{name}/cron"];
export const RemoveCron = ["DELETE", "/v1/cron/{id}"];
export const RunCron = ["POST", "/v1/cron/{id}/run"];
export const ListJobs = ["GET", "/v1/jobs"];
export const CancelJob = ["DELETE", "/v1/jobs/{id}"];
export const RetryJob = ["POST", "/v1/jobs/{id}/retry"];
export const GetLogs = ["GET", "/v1/logs"];
export const GetInvocation = ["GET", "/v1/invocations/{id}"];
