;; A handler of WASI 0.3: answers each request with what the program's `$work` returns
;; as the status, without a body.
(component
  (import "wasi:http/types@0.3.0" (instance $http
    (export "fields" (type $fields (sub resource)))
    (export "request" (type (sub resource)))
    (export "response" (type $response (sub resource)))
    ;; ERRORS
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[static]response.new"
      (func (param "headers" (own $fields)) (param "contents" (option (stream u8)))
        (param "trailers" (future (result (option (own $fields)) (error $error-code))))
        (result (tuple (own $response) (future (result (error $error-code)))))))
    (export "[method]response.set-status-code"
      (func (param "self" (borrow $response)) (param "status-code" u16) (result (result))))))
  (alias export $http "fields" (type $fields))
  (alias export $http "request" (type $request))
  (alias export $http "response" (type $response))
  (alias export $http "error-code" (type $error-code))
  (type $trailers (future (result (option (own $fields)) (error $error-code))))

  (core module $place (memory (export "memory") 1))
  (core instance $place (instantiate $place))
  (alias core export $place "memory" (core memory $memory))
  (core func $drop-request (canon resource.drop $request))
  (core func $new-fields (canon lower (func $http "[constructor]fields")))
  (core func $new-response
    (canon lower (func $http "[static]response.new") (memory $memory)))
  (core func $set-status (canon lower (func $http "[method]response.set-status-code")))
  (core func $new-future (canon future.new $trailers))
  (core func $write-future (canon future.write $trailers async (memory $memory)))

  (core module $program
    (import "host" "memory" (memory 1))
    (import "host" "drop-request" (func $drop-request (param i32)))
    (import "host" "new-fields" (func $new-fields (result i32)))
    (import "host" "new-response" (func $new-response (param i32 i32 i32 i32 i32)))
    (import "host" "set-status" (func $set-status (param i32 i32) (result i32)))
    (import "host" "new-future" (func $new-future (result i64)))
    (import "host" "write-future" (func $write-future (param i32 i32) (result i32)))
    ;; PROGRAM
    ;; Of the memory, the first bytes are zero, which stand for ok of no trailers; then come the
    ;; results.
    (func (export "handle") (param $request i32) (result i32) (local $trailers i64)
      (call $drop-request (local.get $request))
      (local.set $trailers (call $new-future))
      (call $new-response (call $new-fields) (i32.const 0) (i32.const 0)
        (i32.wrap_i64 (local.get $trailers)) (i32.const 1024))
      (drop (call $write-future
        (i32.wrap_i64 (i64.shr_u (local.get $trailers) (i64.const 32))) (i32.const 0)))
      (drop (call $set-status (i32.load (i32.const 1024)) (call $work)))
      (i32.store (i32.const 2048) (i32.const 0))
      (i32.store (i32.const 2056) (i32.load (i32.const 1024)))
      (i32.const 2048)))
  (core instance $program (instantiate $program
    (with "host" (instance
      (export "memory" (memory $memory))
      (export "drop-request" (func $drop-request))
      (export "new-fields" (func $new-fields))
      (export "new-response" (func $new-response))
      (export "set-status" (func $set-status))
      (export "new-future" (func $new-future))
      (export "write-future" (func $write-future))))))

  (func $handle async (param "request" (own $request))
    (result (result (own $response) (error $error-code)))
    (canon lift (core func $program "handle") (memory $memory)))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/handler@0.3.0" (instance $handler)))
