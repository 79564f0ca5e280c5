  ;; Keeps all that it makes, and makes more until it is refused.
  (type $bytes (array (mut i8)))
  (type $page (struct (field $next (ref null $page)) (field $bytes (ref $bytes))))
  (global $kept (mut (ref null $page)) (ref.null $page))
  (func $work (result i32)
    (loop $more
      (global.set $kept (struct.new $page (global.get $kept)
        (array.new $bytes (i32.const 1) (i32.const 4000))))
      (br $more))
    (i32.const 200))
