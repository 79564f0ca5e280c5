  ;; Throws while it handles an exception, ever deeper: no stack is deep enough.
  (tag $error (param i32))
  (func $deeper (param $depth i32) (result i32)
    (block $caught (result i32)
      (try_table (catch $error $caught) (throw $error (local.get $depth)))
      (unreachable))
    drop
    (i32.add (i32.const 1) (call $deeper (i32.add (local.get $depth) (i32.const 1)))))
  (func $work (result i32) (call $deeper (i32.const 0)))
