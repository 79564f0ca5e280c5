  ;; Structs, arrays, i31, subtypes and casts, and more garbage than a heap begins with has room
  ;; for. Returns 200, or which of its parts went wrong.
  (type $node (struct (field $value i32) (field $next (mut (ref null $node)))))
  (type $bytes (array (mut i8)))
  (type $shape (sub (struct (field $area i32))))
  (type $square (sub $shape (struct (field $area i32) (field $side i32))))
  (type $shapes (array (mut (ref null $shape))))
  (type $same (func (param externref) (result externref)))
  (elem declare func $same)
  (func $same (type $same) (local.get 0))

  (func $list (param $length i32) (result (ref null $node)) (local $list (ref null $node))
    (loop $more
      (local.set $list (struct.new $node (local.get $length) (local.get $list)))
      (br_if $more (local.tee $length (i32.sub (local.get $length) (i32.const 1)))))
    (local.get $list))
  (func $sum (param $list (ref null $node)) (result i32) (local $sum i32)
    (block $end
      (loop $more
        (br_if $end (ref.is_null (local.get $list)))
        (local.set $sum (i32.add (local.get $sum) (struct.get $node $value (local.get $list))))
        (local.set $list (struct.get $node $next (local.get $list)))
        (br $more)))
    (local.get $sum))

  (func $work (result i32)
    (local $list (ref null $node)) (local $bytes (ref $bytes)) (local $shapes (ref $shapes))
    (local $left i32) (local $ring (ref $node))
    (local.set $list (call $list (i32.const 1000)))
    (if (i32.ne (call $sum (local.get $list)) (i32.const 500500)) (then (return (i32.const 501))))

    (local.set $bytes (array.new $bytes (i32.const 7) (i32.const 100)))
    (array.fill $bytes (local.get $bytes) (i32.const 50) (i32.const 200) (i32.const 50))
    (if (i32.ne (array.get_u $bytes (local.get $bytes) (i32.const 99)) (i32.const 200))
      (then (return (i32.const 502))))
    (if (i32.ne (i31.get_s (ref.i31 (i32.const -5))) (i32.const -5))
      (then (return (i32.const 503))))

    (local.set $shapes (array.new_default $shapes (i32.const 2)))
    (array.set $shapes (local.get $shapes) (i32.const 0) (struct.new $shape (i32.const 4)))
    (array.set $shapes (local.get $shapes) (i32.const 1)
      (struct.new $square (i32.const 9) (i32.const 3)))
    (if (ref.test (ref $square) (array.get $shapes (local.get $shapes) (i32.const 0)))
      (then (return (i32.const 504))))
    (if (i32.ne (i32.const 3) (struct.get $square $side
        (ref.cast (ref $square) (array.get $shapes (local.get $shapes) (i32.const 1)))))
      (then (return (i32.const 505))))

    ;; As a value of the host's, through a typed reference to a function, and back.
    (if (i32.ne (i32.const 31) (i31.get_u (ref.cast i31ref (any.convert_extern
        (call_ref $same (extern.convert_any (ref.i31 (i32.const 31))) (ref.func $same))))))
      (then (return (i32.const 506))))

    ;; Rings of two, which count each other.
    (local.set $left (i32.const 200000))
    (loop $more
      (local.set $ring (struct.new $node (local.get $left) (ref.null $node)))
      (struct.set $node $next (local.get $ring) (struct.new $node (i32.const 0) (local.get $ring)))
      (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (if (i32.ne (call $sum (local.get $list)) (i32.const 500500)) (then (return (i32.const 507))))
    (i32.const 200))
