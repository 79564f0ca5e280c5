;; Runs the program when it is instantiated, and traps if that goes wrong. For a component of any
;; kind to contain.
(module
  ;; PROGRAM
  (func $start (if (i32.ne (call $work) (i32.const 200)) (then unreachable)))
  (start $start))
