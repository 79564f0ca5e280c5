// A function in Go. The module aws-lambda-go is in none of the registries that this is built from, so this speaks
// the Runtime API as that library does on the wire: each answer is chunked, without a Content-Length and without
// Lambda-Runtime-Function-Response-Mode, and declares the two trailers of an error whether there is one or not.
// Whatever is not 200 for an event, or not 202 for an answer, ends the process. A panic is reported, then the process
// exits with 1. With GRACEFUL it registers an internal extension for SIGTERM.
//
// By the path of the event: `/error` reports an error with a stack trace of objects, `/panic` panics, `/stream`
// streams a reply with a prelude, `/stream-error` breaks one off with an error in the trailers. As the runtime of
// Node.js does, and no Go program, `/stream-raw` streams one without a prelude, with NULs in it and a type of its
// own, and `/no-separator` one that says it has a prelude and has none. Any other event is its own answer; one of a Function URL is the body of its reply. With
// INIT_ERROR it reports that its init has failed, and exits.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	errorType = "Lambda-Runtime-Function-Error-Type"
	errorBody = "Lambda-Runtime-Function-Error-Body"
	prelude   = "application/vnd.awslambda.http-integration-response"
)

type failure struct {
	Message string  `json:"errorMessage"`
	Type    string  `json:"errorType"`
	Trace   []frame `json:"stackTrace,omitempty"`
}

type frame struct {
	Path  string `json:"path"`
	Line  int    `json:"line"`
	Label string `json:"label"`
}

type event struct {
	RawPath        string          `json:"rawPath"`
	Path           string          `json:"path"`
	RequestContext json.RawMessage `json:"requestContext"`
}

// Without a timeout: an event may be long in coming.
var client = &http.Client{Timeout: 0}

func main() {
	api := os.Getenv("AWS_LAMBDA_RUNTIME_API")
	runtime := "http://" + api + "/2018-06-01/runtime/"
	if text := os.Getenv("INIT_ERROR"); text != "" {
		body, _ := json.Marshal(failure{Message: text, Type: "errorString"})
		post(runtime+"init/error", "application/json", bytes.NewReader(body), nil)
		os.Exit(1)
	}
	if os.Getenv("GRACEFUL") != "" {
		registerForSignal("http://" + api + "/2020-01-01/extension/")
	}
	for {
		reply, err := client.Get(runtime + "invocation/next")
		if err != nil {
			log.Fatal(err)
		}
		body, err := io.ReadAll(reply.Body)
		reply.Body.Close()
		if err != nil || reply.StatusCode != http.StatusOK {
			log.Fatalf("the next event: %v %v", reply.Status, err)
		}
		handle(runtime+"invocation/"+reply.Header.Get("Lambda-Runtime-Aws-Request-Id"), body)
	}
}

// Asks for SIGTERM: without an extension the platform kills a process outright.
func registerForSignal(extensions string) {
	request, _ := http.NewRequest("POST", extensions+"register", bytes.NewBufferString(`{"events":null}`))
	request.Header.Set("Lambda-Extension-Name", "go-sigterm")
	reply, err := client.Do(request)
	if err != nil {
		log.Printf("no SIGTERM: %v", err)
		return
	}
	_, _ = io.Copy(io.Discard, reply.Body)
	reply.Body.Close()
	id := reply.Header.Get("Lambda-Extension-Identifier")
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	go func() {
		<-terminate
		fmt.Println("told to stop")
		os.Exit(0)
	}()
	go func() {
		request, _ := http.NewRequest("GET", extensions+"event/next", nil)
		request.Header.Set("Lambda-Extension-Identifier", id)
		if reply, err := client.Do(request); err == nil {
			reply.Body.Close()
		}
	}()
}

func handle(invocation string, body []byte) {
	var seen event
	// What is no object is an event, too.
	_ = json.Unmarshal(body, &seen)
	path := seen.RawPath + seen.Path
	switch path {
	case "/error":
		report(invocation, failure{"an error of the handler", "errorString", []frame{{"main.go", 1, "handle"}}})
	case "/panic":
		report(invocation, failure{"a panic of the handler", "string", []frame{{"main.go", 2, "handle"}}})
		os.Exit(1)
	case "/stream":
		head := `{"statusCode":201,"headers":{"content-type":"text/plain","x-stream":"yes"},"cookies":["one=1","two=2"]}`
		stream(invocation, prelude, head+string(make([]byte, 8)), nil)
	case "/stream-raw":
		streamRaw(invocation, "text/plain", "raw "+string(make([]byte, 8))+" bytes\n")
	case "/no-separator":
		streamRaw(invocation, prelude, "no prelude \x00\x00 at all\n")
	case "/stream-error":
		stream(invocation, prelude, `{"statusCode":200}`+string(make([]byte, 8)),
			&failure{Message: "broken off", Type: "errorString"})
	default:
		if len(seen.RequestContext) > 0 {
			body, _ = json.Marshal(map[string]any{
				"statusCode": 200,
				"headers":    map[string]string{"content-type": "application/json"},
				"body":       string(body),
			})
		}
		post(invocation+"/response", "application/octet-stream", bytes.NewReader(body), nil)
	}
}

// Sends the beginning, then four lines 100 ms apart, then the failure if there is one.
func stream(invocation, contentType, begin string, failed *failure) {
	reader, writer := io.Pipe()
	trailer := http.Header{}
	go func() {
		_, _ = io.WriteString(writer, begin)
		for i := 0; i < 4; i++ {
			fmt.Fprintf(writer, "%d\n", i)
			time.Sleep(100 * time.Millisecond)
		}
		if failed != nil {
			body, _ := json.Marshal(failed)
			trailer.Set(errorType, failed.Type)
			trailer.Set(errorBody, base64.StdEncoding.EncodeToString(body))
		}
		writer.Close()
	}()
	post(invocation+"/response", contentType, reader, trailer)
}

func streamRaw(invocation, contentType, text string) {
	request, err := http.NewRequest("POST", invocation+"/response", struct{ io.Reader }{bytes.NewBufferString(text)})
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("Lambda-Runtime-Function-Response-Mode", "streaming")
	send(request)
}

func report(invocation string, failed failure) {
	body, _ := json.Marshal(failed)
	post(invocation+"/error", "application/json", bytes.NewReader(body), nil)
}

// Posts chunked, and with both trailers declared. What is in `trailer` at the end of the body is sent.
func post(url, contentType string, body io.Reader, trailer http.Header) {
	if trailer == nil {
		trailer = http.Header{}
	}
	trailer[errorType], trailer[errorBody] = nil, nil
	// Of a type that has no length to find out.
	request, err := http.NewRequest("POST", url, struct{ io.Reader }{body})
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	request.Trailer = trailer
	send(request)
}

func send(request *http.Request) {
	reply, err := client.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, reply.Body)
	reply.Body.Close()
	if reply.StatusCode != http.StatusAccepted {
		log.Fatalf("%s: %s", request.URL, reply.Status)
	}
}
