  ;; Throws what nothing catches.
  (tag $error (param i32))
  (func $thrower (throw $error (i32.const 1)))
  (func $work (result i32) (call $thrower) (i32.const 200))
