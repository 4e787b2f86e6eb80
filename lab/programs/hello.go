// Goroutines, channels, a file, and an exit code: what Go's runtime needs of a kernel.
package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
)

func main() {
	var group sync.WaitGroup
	results := make(chan int, 100)
	for i := 0; i < 100; i++ {
		group.Add(1)
		go func(n int) {
			defer group.Done()
			results <- n * n
		}(i)
	}
	group.Wait()
	close(results)
	sum := 0
	for result := range results {
		sum += result
	}
	fmt.Println("sum", sum)
	name, err := os.ReadFile("/etc/debian_version")
	fmt.Println("debian", strings.TrimSpace(string(name)), err)
	_, err = os.Open("/no/such/file")
	fmt.Println(err)
	fmt.Println("args", os.Args[1:])
	if len(os.Args) > 1 {
		os.Exit(7)
	}
}
