package main

import "context"

// What is of interest here in an event of a function URL.
type request struct {
	RawPath string `json:"rawPath"`
}

type response struct {
	StatusCode int               `json:"statusCode"`
	Headers    map[string]string `json:"headers"`
	Body       string            `json:"body"`
}

func main() {
	start(handle)
}

func handle(_ context.Context, event request) (response, error) {
	headers := map[string]string{"content-type": "text/plain"}
	return response{StatusCode: 200, Headers: headers, Body: greeting(event.RawPath)}, nil
}

func greeting(path string) string {
	return "Hello from Go, at " + path + "\n"
}
