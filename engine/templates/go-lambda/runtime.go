package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"
)

// start serves events by AWS Lambda's Runtime API, one after another. The module
// github.com/aws/aws-lambda-go does the same and more: with it, call lambda.Start(handle) instead and
// remove this file.
func start[Event, Answer any](handle func(context.Context, Event) (Answer, error)) {
	invocations := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	for {
		next, err := http.Get(invocations + "next")
		if err != nil {
			log.Fatal(err)
		}
		body, err := io.ReadAll(next.Body)
		next.Body.Close()
		if err != nil || next.StatusCode != http.StatusOK {
			log.Fatalf("no event: %s %v", next.Status, err)
		}
		invocation := invocations + next.Header.Get("Lambda-Runtime-Aws-Request-Id")
		deadline, _ := strconv.ParseInt(next.Header.Get("Lambda-Runtime-Deadline-Ms"), 10, 64)
		ctx, cancel := context.WithDeadline(context.Background(), time.UnixMilli(deadline))
		var event Event
		var answer any
		if err = json.Unmarshal(body, &event); err == nil {
			answer, err = handle(ctx, event)
		}
		cancel()
		if err == nil {
			post(invocation+"/response", answer)
		} else {
			post(invocation+"/error", map[string]string{"errorType": "error", "errorMessage": err.Error()})
		}
	}
}

func post(url string, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		log.Fatal(err)
	}
	answer, err := http.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
}
