-- Links between the pages as they are in the tree become links between those of the
-- site, which has all pages in one folder.
function Link(link)
	local path, anchor = link.target:match("^([^#]*)(.*)$")
	if path:match("^%a+:") or path == "" then
		return link
	end
	local name = path:gsub("^%./", ""):gsub("^%.%./", ""):gsub("^docs/", "")
	if name == "README.md" then
		name = "index.md"
	end
	if name == "SECURITY.md" then
		name = "report.md"
	end
	link.target = name:gsub("%.md$", ".html") .. anchor
	return link
end

function Image(image)
	image.src = image.src:gsub("^docs/", "")
	return image
end
