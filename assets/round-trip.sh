curl -s http://127.0.0.1:8080/execute -H 'Content-Type: application/json' -H 'Prefer: wait=30' \
  -d "{\"workflow\": $(cat examples/workflows/sample.json), \"params\": {\"prompt\": \"a red fox\"}}"

id=$(curl -s http://127.0.0.1:8080/execute -H 'Content-Type: application/json' \
  -d "{\"workflow\": $(cat examples/workflows/sample.json), \"params\": {\"prompt\": \"a blue bird\"}}" | grep -o '"prompt_id":"[^"]*' | cut -d'"' -f4)
curl -s "http://127.0.0.1:8080/results/$id?wait=30"              # the result; waits up to 30 s for it
curl -s -o cover.png "$(curl -s "http://127.0.0.1:8080/results/$id" | grep -o 'http[^"]*\.png' | head -n 1)"
curl -s -X POST "http://127.0.0.1:8080/results/$id/cancel"       # changes nothing once the job has ended
curl -s "http://127.0.0.1:8080/results?status=completed&limit=5" # newest first
curl -s http://127.0.0.1:8080/backends                           # the backends and their state

curl -s http://127.0.0.1:8080/execute -H 'Prefer: wait=30' -F "request={\"workflow\": $(cat examples/workflows/negative.json)}" -F photo=@examples/photo.png
curl -s -X PUT http://127.0.0.1:8080/workflows/negative -H 'Content-Type: application/json' --data-binary @examples/workflows/negative.json
curl -s http://127.0.0.1:8080/workflows/negative/execute -H 'Prefer: wait=30' -F photo=@examples/photo.png -F width=512 -F height=512
curl -s http://127.0.0.1:8080/workflows/negative                 # its parameters as a JSON Schema, and its outputs
