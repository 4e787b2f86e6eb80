import hashlib, json, os, subprocess, sys, tempfile, threading

print(json.dumps({"a": [1, 2.5, None], "b": "\u00e9"}, sort_keys=True))
print(hashlib.sha256(b"x" * 1000000).hexdigest())
results = []
threads = [threading.Thread(target=lambda n=n: results.append(sum(range(n)))) for n in range(100)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(sum(results))
print(subprocess.run(["sort", "-r"], input="1\n3\n2\n", capture_output=True, text=True).stdout.split())
print(subprocess.run("exit 7", shell=True).returncode)
with tempfile.TemporaryFile() as file:
    file.write(b"abc" * 1000)
    file.seek(2997)
    print(file.read())
sys.exit(6)
