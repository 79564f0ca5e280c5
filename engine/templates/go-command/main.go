package main

import (
	"fmt"
	"log"
	"net/http"
	"net/http/cgi"
)

func main() {
	if err := cgi.Serve(http.HandlerFunc(handle)); err != nil {
		log.Fatal(err)
	}
}

func handle(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprintln(w, greeting(r.URL.Path))
}

func greeting(path string) string {
	return "Hello from Go, at " + path
}
