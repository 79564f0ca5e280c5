  ;; Makes garbage and throws, and catches, and goes on.
  (type $node (struct (field $next (mut (ref null $node))) (field i64)))
  (tag $error (param (ref $node)))
  (func $work (result i32) (local $node (ref $node))
    (loop $more
      (block $caught (result (ref $node))
        (try_table (catch $error $caught) (throw $error (struct.new_default $node)))
        (unreachable))
      (local.set $node)
      (struct.set $node $next (local.get $node) (local.get $node))
      (br $more))
    (i32.const 200))
