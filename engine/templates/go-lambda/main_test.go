package main

import "testing"

func TestThePathIsInTheGreeting(t *testing.T) {
	if got := greeting("/a"); got != "Hello from Go, at /a\n" {
		t.Fatal(got)
	}
}
