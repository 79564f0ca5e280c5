//! Deploys: several at once do not disturb each other, and each version is served when its command
//! has returned.

use std::thread;

use harness::Node;

#[test]
fn several_at_once_are_all_served() {
    let node = Node::with(&["hello"]);
    thread::scope(|scope| {
        for (name, guest) in
            [("one", "hello"), ("two", "hello-wstd"), ("three", "status"), ("four", "hello")]
        {
            let node = &node;
            scope.spawn(move || {
                for _ in 0..6 {
                    node.deploy(guest, name, &[]);
                    let status = node.get(&format!("/{name}/")).status();
                    assert_eq!(status, if guest == "status" { 204 } else { 200 }, "{name}");
                    node.cli(&["remove", name]).expect_code(0);
                    node.get(&format!("/{name}/")).expect_problem(404);
                }
            });
        }
    });
    node.get("/hello/").expect_hello();
    node.stop();
}
