// A plain Go program that knows nothing of CGI: reads stdin, prints to stdout.
//
// The node must reply with the lines `Hello from Go!`, `query: Q` and `stdin-bytes: N`, and then stdin itself in upper
// case. With the query `fail` it writes `failing` on stderr and exits with 4.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

func main() {
	query := os.Getenv("QUERY_STRING")
	if query == "fail" {
		fmt.Fprintln(os.Stderr, "failing")
		os.Exit(4)
	}
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("Hello from Go!\nquery: %s\nstdin-bytes: %d\n", query, len(input))
	os.Stdout.Write(bytes.ToUpper(input))
}
