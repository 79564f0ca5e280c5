  ;; Exceptions thrown across calls, caught by tag, by reference and in general, thrown again, and
  ;; many of them. Returns 200, or which of its parts went wrong.
  (tag $number (param i32))
  (tag $other)
  (func $throw (param $depth i32) (param $value i32)
    (if (i32.eqz (local.get $depth)) (then (throw $number (local.get $value))))
    (call $throw (i32.sub (local.get $depth) (i32.const 1)) (local.get $value))
    ;; Not the last that it does: it stays on the stack.
    (drop (i32.popcnt (local.get $depth))))

  ;; The value that was thrown from so deep, which a handler for another tag does not catch.
  (func $caught (param $depth i32) (param $value i32) (result i32)
    (block $number (result i32)
      (try_table (catch $number $number)
        (block $other
          (try_table (catch $other $other) (call $throw (local.get $depth) (local.get $value)))
          (return (i32.const -1)))
        (return (i32.const -2)))
      (i32.const -3)))

  ;; The same, caught by its reference on the way and thrown again.
  (func $again (param $value i32) (result i32) (local $exception exnref)
    (block $number (result i32)
      (try_table (catch $number $number)
        (block $any (result exnref)
          (try_table (catch_all_ref $any) (call $throw (i32.const 3) (local.get $value)))
          (return (i32.const -1)))
        (local.set $exception)
        (throw_ref (local.get $exception)))
      (unreachable)))

  (func $work (result i32) (local $left i32)
    (if (i32.ne (call $caught (i32.const 0) (i32.const 7)) (i32.const 7))
      (then (return (i32.const 501))))
    (if (i32.ne (call $caught (i32.const 1000) (i32.const 8)) (i32.const 8))
      (then (return (i32.const 502))))
    (if (i32.ne (call $again (i32.const 9)) (i32.const 9)) (then (return (i32.const 503))))
    (local.set $left (i32.const 20000))
    (loop $more
      (if (i32.ne (call $caught (i32.const 2) (local.get $left)) (local.get $left))
        (then (return (i32.const 504))))
      (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (i32.const 200))
