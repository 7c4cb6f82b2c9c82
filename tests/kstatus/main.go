// Kstatus reads Kubernetes objects as JSON from standard input, one after another, and prints for each what kstatus
// makes of it, as Flux, kpt and other waiting tools do: its verdict, a tab and the message.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	if err := judge(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kstatus:", err)
		os.Exit(1)
	}
}

func judge(objects io.Reader, verdicts io.Writer) error {
	decoder := json.NewDecoder(objects)
	for number := 1; ; number++ {
		var text json.RawMessage
		if err := decoder.Decode(&text); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("object %d: %w", number, err)
		}
		// Its own decoder keeps whole numbers whole, as a client of an API server sees them.
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(text); err != nil {
			return fmt.Errorf("object %d: %w", number, err)
		}
		result, err := status.Compute(object)
		if err != nil {
			return fmt.Errorf("object %d: %w", number, err)
		}
		fmt.Fprintf(verdicts, "%s\t%s\n", result.Status, result.Message)
	}
}
