# Brings a user into one form, whether it comes from REST, which has all keys of the contract, or from
# grpcurl, which leaves out what is unset: the contract's keys alone, and each time as an instant.

def instant:
  capture("^(?<local>[0-9-]{10}T[0-9:]{8})(\\.(?<fraction>[0-9]+))?(Z|(?<sign>[+-])(?<hours>[0-9]{2}):(?<minutes>[0-9]{2}))?$")
  | ((.hours // "0" | tonumber) * 3600 + (.minutes // "0" | tonumber) * 60) as $offset
  | [((.local + "Z") | fromdateiso8601) - (if .sign == "-" then -$offset else $offset end),
     ((.fraction // "") | sub("0+$"; ""))];

def camel: split("_") | .[0] + (.[1:] | map((.[0:1] | ascii_upcase) + .[1:]) | add // "");

# What grpcurl's field is, or what it is when it is left out.
def field($name; $default):
  if has("user") then .user[$name | camel] | if . == null then $default else . end
  elif has($name) then .[$name]
  else error("without " + $name)
  end;

def user:
  {
    id: field("id"; ""),
    organization_id: field("organization_id"; ""),
    role: (has("user") as $rpc | field("role"; "ROLE_UNSPECIFIED")
           | if $rpc then ltrimstr("ROLE_") | ascii_downcase else . end),
    email: field("email"; ""),
    num_inverters: field("num_inverters"; 0),
    num_heat_pumps: field("num_heat_pumps"; 0),
    num_electric_vehicles: field("num_electric_vehicles"; 0),
    num_wallboxes: field("num_wallboxes"; 0),
    external_user_id: field("external_user_id"; null),
    first_name: field("first_name"; null),
    last_name: field("last_name"; null),
    is_onboarded: field("is_onboarded"; null),
    street_and_number: field("street_and_number"; null),
    street_add_info: field("street_add_info"; null),
    zip_code: field("zip_code"; null),
    town: field("town"; null),
    country: field("country"; null),
    # Arithmetic makes 0.0 and 0 the same for every version of jq.
    latitude: (field("latitude"; null) | if . == null then . else . + 0 end),
    longitude: (field("longitude"; null) | if . == null then . else . + 0 end),
    last_login: (field("last_login"; null) | if . == null then . else instant end),
    joined_at: (field("joined_at"; null) | if . == null then . else instant end)
  };
