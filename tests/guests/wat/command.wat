;; A command, a core module of WASI preview 1: prints what the program's `$work` returns, three
;; digits.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; PROGRAM
  (func (export "_start") (local $number i32)
    (local.set $number (call $work))
    (i32.store8 (i32.const 16)
      (i32.add (i32.const 48) (i32.div_u (local.get $number) (i32.const 100))))
    (i32.store8 (i32.const 17)
      (i32.add (i32.const 48)
        (i32.rem_u (i32.div_u (local.get $number) (i32.const 10)) (i32.const 10))))
    (i32.store8 (i32.const 18)
      (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 3))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
