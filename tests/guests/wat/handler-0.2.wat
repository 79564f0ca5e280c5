;; A handler of WASI 0.2: answers each request with what the program's `$work` returns
;; as the status, without a body.
(component
  (import "wasi:http/types@0.2.0" (instance $http
    (export "fields" (type $fields (sub resource)))
    (export "incoming-request" (type (sub resource)))
    (export "outgoing-response" (type $response (sub resource)))
    (export "response-outparam" (type $outparam (sub resource)))
    ;; ERRORS
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[constructor]outgoing-response"
      (func (param "headers" (own $fields)) (result (own $response))))
    (export "[method]outgoing-response.set-status-code"
      (func (param "self" (borrow $response)) (param "status-code" u16) (result (result))))
    (export "[static]response-outparam.set"
      (func (param "param" (own $outparam))
        (param "response" (result (own $response) (error $error-code)))))))
  (alias export $http "incoming-request" (type $request))
  (alias export $http "response-outparam" (type $outparam))

  (core module $place (memory (export "memory") 1))
  (core instance $place (instantiate $place))
  (core func $drop-request (canon resource.drop $request))
  (core func $new-fields (canon lower (func $http "[constructor]fields")))
  (core func $new-response (canon lower (func $http "[constructor]outgoing-response")))
  (core func $set-status
    (canon lower (func $http "[method]outgoing-response.set-status-code")))
  (core func $set-response
    (canon lower (func $http "[static]response-outparam.set")
      (memory (core memory $place "memory")) string-encoding=utf8))

  (core module $program
    (import "host" "drop-request" (func $drop-request (param i32)))
    (import "host" "new-fields" (func $new-fields (result i32)))
    (import "host" "new-response" (func $new-response (param i32) (result i32)))
    (import "host" "set-status" (func $set-status (param i32 i32) (result i32)))
    (import "host" "set-response"
      (func $set-response (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
    ;; PROGRAM
    (func (export "handle") (param $request i32) (param $outparam i32) (local $response i32)
      (call $drop-request (local.get $request))
      (local.set $response (call $new-response (call $new-fields)))
      (drop (call $set-status (local.get $response) (call $work)))
      ;; Ok of the response; the rest would be the error's.
      (call $set-response (local.get $outparam) (i32.const 0) (local.get $response)
        (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))
  (core instance $program (instantiate $program
    (with "host" (instance
      (export "drop-request" (func $drop-request))
      (export "new-fields" (func $new-fields))
      (export "new-response" (func $new-response))
      (export "set-status" (func $set-status))
      (export "set-response" (func $set-response))))))

  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $program "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
