// A CGI program as people write it in Go: net/http/cgi, and an ordinary http.Handler.
//
// The node must reply 201 with `Content-Type: text/plain`, `X-Guest: go-cgi`, and the lines `Hello from Go!`,
// `method: M`, `url: U` (the request's URI, absolute), `host: H`, `x-test: V` (the request's header of that name) and
// `body: B`. At a path that ends in `/redirect` it redirects to `/elsewhere` with 302.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"strings"
)

func handle(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/redirect") {
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("X-Guest", "go-cgi")
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, "Hello from Go!\nmethod: %s\nurl: %s\nhost: %s\nx-test: %s\nbody: %s\n",
		r.Method, r.URL, r.Host, r.Header.Get("X-Test"), body)
}

func main() {
	if err := cgi.Serve(http.HandlerFunc(handle)); err != nil {
		log.Fatal(err)
	}
}
