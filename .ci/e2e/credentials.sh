# shellcheck shell=bash disable=SC2154 # lib.sh sets what this uses
# Certificates, and tokens of an issuer, as openssl makes them. Everything is in $work.

# authority NAME: a CA. All have the same name, so that clients take any one's certificates for the right ones.
authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=e2e CA' -days 2 \
    -keyout "$work/$1.key" -out "$work/$1.crt" 2>/dev/null
}

# certificate NAME AUTHORITY DAYS EXTENSION...
certificate() {
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=e2e -keyout "$work/$1.key" 2>/dev/null |
    openssl x509 -req -CA "$work/$2.crt" -CAkey "$work/$2.key" -days "$3" -extfile <(printf '%s\n' "${@:4}") \
      -out "$work/$1.crt" 2>/dev/null
}

# serial ADDRESS: the serial number of the certificate that a port has.
serial() { openssl s_client -connect "$1" </dev/null 2>/dev/null | openssl x509 -noout -serial; }

base64url() { basenc --base64url -w 0 | tr -d =; }

# signing_key NAME: a key for tokens, and its JWK.
signing_key() {
  openssl genrsa -out "$work/$1.pem" 2048 2>/dev/null
  local modulus
  modulus=$(openssl rsa -in "$work/$1.pem" -noout -modulus | cut -d = -f 2 | basenc --base16 -d | base64url)
  jq -n --arg kid "$1" --arg n "$modulus" '{kty: "RSA", use: "sig", alg: "RS256", kid: $kid, n: $n, e: "AQAB"}' >"$work/$1.jwk"
}

public_key() { openssl rsa -in "$work/$1.pem" -pubout 2>/dev/null; }

# publish FILE KEY...: what the issuer serves.
publish() {
  mkdir -p "$work/issuer"
  (cd "$work" && jq -s '{keys: .}' "${@:2}" >new && mv new "issuer/$1")
}

# issuer: starts it, with its URL in $issuer.
issuer() {
  start issuer /usr/bin/python3 -u -m http.server --bind 127.0.0.1 --directory "$work/issuer" 0
  await issuer 'Serving HTTP'
  issuer=$(grep -oE 'http://[0-9.:]+' "$work/issuer.out")
}

# token KEY [HEADER [CLAIMS]]: a token of crm-sync, with what the jq filters make of its header and its claims. What
# it consists of goes to $work/tokens, too.
token() {
  local signed
  signed=$(jq -nc --arg kid "$1" --arg issuer "$issuer" --slurpfile jwk "$work/$1.jwk" \
    "{alg: \"RS256\", typ: \"JWT\", kid: \$kid} | ${2:-.}" | tr -d '\n' | base64url)
  signed+=.$(jq -nc --arg issuer "$issuer" '{iss: $issuer, aud: "podero-facade", sub: "crm-sync", iat: now | floor}
    | .exp = .iat + 600 | '"${3:-.}" | tr -d '\n' | base64url)
  signed+=.$(printf %s "$signed" | case ${2:-} in
  *none*) ;;
  *HS256*) openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(public_key "$1" | basenc --base16 -w 0)" -binary ;;
  *) openssl dgst -sha256 -sign "$work/$1.pem" -binary ;;
  esac | base64url)
  tr . '\n' <<<"$signed" >>"$work/tokens"
  echo "$signed"
}
